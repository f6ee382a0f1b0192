-- An instance that carries an adjustment on counts itself first: the one that began it may forget it only while it is the only one.
UPDATE stock_adjustments SET attempts = attempts + 1, touched_at = now() WHERE request_id = $1 AND state = 'STARTED'
RETURNING request_id, sale_id, sku, delta, reason, state, raised_epoch, allotted_before, allotted_after, available, attempts, created_at, ended_at
