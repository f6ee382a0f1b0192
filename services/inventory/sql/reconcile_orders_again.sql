-- As reconcile_orders.sql, of these orders.
SELECT o.order_id, o.hold_id, o.epoch, o.state,
    (extract(epoch FROM clock_timestamp() - o.updated_at) * 1000)::bigint AS "age_ms!",
    array_agg(l.sku ORDER BY l.sku) FILTER (WHERE l.sku IS NOT NULL) AS "skus?",
    array_agg(l.quantity ORDER BY l.sku) FILTER (WHERE l.sku IS NOT NULL) AS "quantities?"
FROM orders o
LEFT JOIN order_lines l USING (order_id)
WHERE o.sale_id = $1 AND o.order_id = ANY($2)
GROUP BY o.order_id, o.hold_id, o.epoch, o.state, o.updated_at
