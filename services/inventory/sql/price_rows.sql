-- What a revision of a sale's prices changes, by sku.
SELECT sku, price_minor, regular_minor, per_buyer_limit
FROM sale_prices
WHERE sale_id = $1 AND revision = $2
ORDER BY sku
