-- Adds to what of a payment's money is back. $1 order, $2 how much, which may be below 0, $3 the state it becomes.
UPDATE payments
SET refunded_minor = GREATEST(refunded_minor + $2, 0), state = $3, updated_at = now()
WHERE order_id = $1
