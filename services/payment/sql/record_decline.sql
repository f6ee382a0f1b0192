-- Records why the provider refused; the first reason stays. $1 order, $2 reason.
UPDATE payments
SET decline_code = $2, updated_at = now()
WHERE order_id = $1 AND decline_code IS NULL AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
