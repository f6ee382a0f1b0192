-- Of the version $2, if it is the present one: none if the sale has changed. In the order of the bytes of the sku, whatever the collation of
-- the database.
SELECT i.sku, i.title, i.price_minor, i.quantity, i.per_buyer_limit
FROM sale_items i
JOIN sales s USING (sale_id)
WHERE i.sale_id = $1 AND s.version = $2
ORDER BY i.sku COLLATE "C"
