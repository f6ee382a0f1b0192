-- Takes up to $2 adjustments that have not changed for $1 ms. What another instance takes at this moment is left to it.
UPDATE stock_adjustments SET attempts = attempts + 1, touched_at = now()
WHERE request_id IN (
    SELECT request_id
    FROM stock_adjustments
    WHERE state = 'STARTED' AND touched_at <= now() - $1::bigint * interval '1 ms'
    ORDER BY touched_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING request_id, sale_id, sku, delta, reason, state, raised_epoch, allotted_before, allotted_after, available, attempts, created_at, ended_at
