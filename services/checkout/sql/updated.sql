-- When orders were last changed.
SELECT order_id, updated_at
FROM orders
WHERE order_id = ANY ($1)
