SELECT l.order_id, COALESCE(i.title, l.sku) AS "title!", l.sku, l.quantity, l.unit_price_minor
FROM order_lines l
JOIN orders o ON o.order_id = l.order_id
LEFT JOIN sale_items i ON i.sale_id = o.sale_id AND i.sku = l.sku
WHERE l.order_id = ANY ($1)
ORDER BY l.order_id, l.sku
