SELECT request_id, sale_id, sku, delta, reason, state, raised_epoch, allotted_before, allotted_after, available, attempts, created_at, ended_at
FROM stock_adjustments
WHERE request_id = $1
