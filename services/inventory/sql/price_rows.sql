-- What these revisions of a sale's prices change together, by sku: of each the last one.
SELECT DISTINCT ON (sku) sku, revision, price_minor, regular_minor, per_buyer_limit
FROM sale_prices
WHERE sale_id = $1 AND revision = ANY($2::bigint[])
ORDER BY sku, revision DESC
