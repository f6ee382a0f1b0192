SELECT order_id, state, cancel_requested_at IS NOT NULL AS "cancel_requested!"
FROM orders
WHERE order_id = ANY ($1)
ORDER BY order_id
FOR UPDATE
