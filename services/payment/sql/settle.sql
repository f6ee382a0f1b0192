-- The compare-and-set that ends a payment. $1 order, $2 the state it was ruled on, $3 the new state, $4 what was captured.
UPDATE payments
SET state = $3, captured_minor = $4, updated_at = now()
WHERE order_id = $1 AND state = $2
