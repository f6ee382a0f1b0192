-- Until when payments are leased. $1 order ids.
SELECT order_id, lease_until AS "lease_until!" FROM payments
WHERE order_id = ANY($1) AND lease_until > now() AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
