-- What became of each item, in the order of the bytes of the sku.
SELECT i.sku, i.title, i.price_minor, i.per_buyer_limit, coalesce(a.allotted, i.quantity) AS "allotted!", coalesce(l.sold, 0) AS "sold!",
    coalesce(l.refunded, 0) AS "refunded!", coalesce(l.open, 0) AS "open!", coalesce(l.gross_minor, 0) AS "gross_minor!"
FROM sale_items i
LEFT JOIN allotments a USING (sale_id, sku)
LEFT JOIN (
    SELECT l.sku,
        sum(l.quantity) FILTER (WHERE o.state = 'CONFIRMED')::bigint AS sold,
        sum(l.quantity) FILTER (WHERE o.state = 'REFUNDED')::bigint AS refunded,
        sum(l.quantity) FILTER (WHERE o.state IN ('CLAIMED', 'PAYING', 'ACTION_REQUIRED'))::bigint AS open,
        sum(l.quantity * l.unit_price_minor) FILTER (WHERE o.state = 'CONFIRMED')::bigint AS gross_minor
    FROM orders o JOIN order_lines l USING (order_id)
    WHERE o.sale_id = $1
    GROUP BY l.sku
) l USING (sku)
WHERE i.sale_id = $1
ORDER BY i.sku COLLATE "C"
