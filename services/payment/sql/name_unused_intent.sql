-- Names the intent that was on its way when a payment ended. $1 order, $2 intent.
UPDATE payments
SET intent_id = $2, updated_at = now()
WHERE order_id = $1 AND intent_id IS NULL AND state IN ('FAILED', 'CANCELLED')
