-- A worker has a row until its lease ends: if it dies, another carries the row out; if it is merely slow, both do, which is harmless.
-- $4 sales that are held off: their rows leave the batch to others. Without any, no row's sale is looked up.
WITH due AS MATERIALIZED (
    SELECT b.outbox_id
    FROM outbox b
    WHERE b.kind = $1 AND b.done_at IS NULL AND b.due_at <= now()
        AND (
            cardinality($4::uuid[]) = 0
            OR NOT EXISTS (SELECT FROM orders o WHERE o.order_id = b.order_id AND o.sale_id = ANY ($4))
        )
    ORDER BY b.due_at, b.outbox_id
    LIMIT $2
    FOR UPDATE OF b SKIP LOCKED
)
UPDATE outbox o
SET due_at = now() + $3::bigint * interval '1 millisecond', attempts = o.attempts + 1
FROM due, orders r
WHERE o.outbox_id = due.outbox_id AND r.order_id = o.order_id
RETURNING o.outbox_id, o.order_id, o.about, o.attempts, r.traceparent
