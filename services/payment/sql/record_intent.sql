-- Records the one intent of a payment. $1 order, $2 intent.
UPDATE payments
SET intent_id = $2, updated_at = now()
WHERE order_id = $1 AND state = 'DUE' AND intent_id IS NULL
