INSERT INTO stock_adjustments (request_id, sale_id, sku, delta, reason, state, raised_epoch, allotted_before, allotted_after)
VALUES ($1, $2, $3, $4, $5, 'STARTED', $6, $7, $8)
ON CONFLICT (request_id) DO NOTHING
RETURNING request_id, sale_id, sku, delta, reason, state, raised_epoch, allotted_before, allotted_after, available, attempts, created_at, ended_at
