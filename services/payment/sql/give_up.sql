-- Records why a payment ends that neither the buyer nor the card ends; the first reason stays. $1 order, $2 reason.
UPDATE payments
SET end_reason = $2, updated_at = now()
WHERE order_id = $1 AND end_reason IS NULL AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
