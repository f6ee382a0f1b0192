-- Of the version $2, if it is the present one: none if the sale has changed. With the prices and limits of the revisions $3, the last that has
-- any of a sku. In the order of the bytes of the sku, whatever the collation of the database.
SELECT i.sku AS "sku!", i.title AS "title!", COALESCE(p.price_minor, i.price_minor) AS "price_minor!",
    CASE WHEN p.sku IS NULL THEN i.regular_minor ELSE p.regular_minor END AS "regular_minor?", i.quantity AS "quantity!",
    COALESCE(p.per_buyer_limit, i.per_buyer_limit) AS "per_buyer_limit!"
FROM sale_items i
JOIN sales s ON s.sale_id = i.sale_id
LEFT JOIN LATERAL (
    SELECT r.sku, r.price_minor, r.regular_minor, r.per_buyer_limit
    FROM sale_prices r
    WHERE r.sale_id = i.sale_id AND r.sku = i.sku AND r.revision = ANY($3::bigint[])
    ORDER BY r.revision DESC
    LIMIT 1
) p ON true
WHERE i.sale_id = $1 AND s.version = $2
ORDER BY i.sku COLLATE "C"
