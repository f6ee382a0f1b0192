-- Records on the payment that its money is back. $1 order, $2 the state it must be in, $3 the new one.
UPDATE payments
SET state = $3, updated_at = now()
WHERE order_id = $1 AND state = $2
