SELECT request_id, sale_id, sku, delta, reason, state, raised_epoch, allotted_before, allotted_after, available, attempts, created_at, ended_at
FROM stock_adjustments
WHERE sale_id = $1 AND ($2::timestamptz IS NULL OR (created_at, request_id) < ($2, $3::uuid))
ORDER BY created_at DESC, request_id DESC
LIMIT $4
