-- Has a payment that was begun cancelled at the provider. $1 order.
UPDATE payments
SET cancel_requested = true, due_at = now(), updated_at = now()
WHERE order_id = $1 AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
