-- Gives up the lease of a payment on which nothing was done. $1 order, $2 the lease's id.
UPDATE payments
SET lease_id = NULL, lease_until = NULL
WHERE order_id = $1 AND lease_id = $2
