SELECT l.order_id, o.sale_id, l.sku, l.quantity
FROM order_lines l
JOIN orders o ON o.order_id = l.order_id
WHERE l.order_id = ANY ($1)
