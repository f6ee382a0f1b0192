-- A page of a sale's orders, by order id, with the lines of each as two lists of the same length. $2 the last id of the page before.
SELECT o.order_id, o.hold_id, o.epoch, o.state,
    (extract(epoch FROM clock_timestamp() - o.updated_at) * 1000)::bigint AS "age_ms!",
    array_agg(l.sku ORDER BY l.sku) FILTER (WHERE l.sku IS NOT NULL) AS "skus?",
    array_agg(l.quantity ORDER BY l.sku) FILTER (WHERE l.sku IS NOT NULL) AS "quantities?"
FROM (
    SELECT order_id, hold_id, epoch, state, updated_at FROM orders WHERE sale_id = $1 AND order_id > $2 ORDER BY order_id LIMIT $3
) o
LEFT JOIN order_lines l USING (order_id)
GROUP BY o.order_id, o.hold_id, o.epoch, o.state, o.updated_at
ORDER BY o.order_id
