UPDATE stock_adjustments SET state = 'REFUSED', ended_at = now(), available = $2 WHERE request_id = $1 AND state = 'STARTED'
RETURNING request_id, sale_id, sku, delta, reason, state, raised_epoch, allotted_before, allotted_after, available, attempts, created_at, ended_at
