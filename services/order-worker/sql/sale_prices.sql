-- What these skus cost, for each sale that has them. It never changes once the sale is started: there is one revision of each price.
SELECT i.sale_id, i.sku, i.price_minor
FROM sale_items i
JOIN UNNEST($1::uuid[], $2::text[]) AS asked (sale_id, sku) ON asked.sale_id = i.sale_id AND asked.sku = i.sku
