-- Ends a payment the provider has not heard of. $1 order.
UPDATE payments
SET state = 'CANCELLED', cancel_requested = true, updated_at = now()
WHERE order_id = $1 AND state = 'DUE' AND intent_id IS NULL AND first_attempt_at IS NULL
