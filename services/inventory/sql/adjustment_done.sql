-- Of an addition the numbers stand there already.
UPDATE stock_adjustments
SET state = 'DONE', ended_at = now(), allotted_before = coalesce($2::bigint, allotted_before), allotted_after = coalesce($3::bigint, allotted_after)
WHERE request_id = $1 AND state = 'STARTED'
RETURNING request_id, sale_id, sku, delta, reason, state, raised_epoch, allotted_before, allotted_after, available, attempts, created_at, ended_at
