-- What became of each item of sale $1, at the prices and limits of the revisions $2 as in read_items.sql, in the order of the bytes of the sku.
SELECT i.sku AS "sku!", i.title AS "title!", COALESCE(p.price_minor, i.price_minor) AS "price_minor!",
    COALESCE(p.per_buyer_limit, i.per_buyer_limit) AS "per_buyer_limit!", coalesce(a.allotted, i.quantity) AS "allotted!", coalesce(l.sold, 0) AS "sold!",
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
LEFT JOIN LATERAL (
    SELECT r.price_minor, r.per_buyer_limit
    FROM sale_prices r
    WHERE r.sale_id = i.sale_id AND r.sku = i.sku AND r.revision = ANY($2::bigint[])
    ORDER BY r.revision DESC
    LIMIT 1
) p ON true
WHERE i.sale_id = $1
ORDER BY i.sku COLLATE "C"
