-- What the revisions $2 of the prices of sale $1 change.
SELECT revision, sku, price_minor, regular_minor, per_buyer_limit
FROM sale_prices
WHERE sale_id = $1 AND revision = ANY($2::bigint[])
