-- What these skus of a sale cost in these revisions, where they have a price in it.
SELECT asked.sku AS "sku!", asked.revision AS "revision!", COALESCE(p.price_minor, i.price_minor) AS "price_minor!"
FROM UNNEST($2::text[], $3::bigint[]) AS asked (sku, revision)
LEFT JOIN sale_items i ON asked.revision = 1 AND i.sale_id = $1 AND i.sku = asked.sku
LEFT JOIN sale_prices p ON p.sale_id = $1 AND p.sku = asked.sku AND p.revision = asked.revision
WHERE COALESCE(p.price_minor, i.price_minor) IS NOT NULL
