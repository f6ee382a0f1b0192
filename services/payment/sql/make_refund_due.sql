-- Has the refunds of an order looked at soon. $1 order, $2 the moment in ms.
UPDATE refunds
SET due_at = LEAST(due_at, now() + $2 * interval '1 millisecond')
WHERE order_id = $1 AND state IN ('DUE', 'PENDING')
