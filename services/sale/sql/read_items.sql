-- In the order of the bytes of the sku, whatever the collation of the database.
SELECT sku, title, price_minor, quantity, per_buyer_limit
FROM sale_items
WHERE sale_id = $1
ORDER BY sku COLLATE "C"
