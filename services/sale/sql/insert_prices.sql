-- What revisions of the prices of sale $1 change, all of them in one statement.
INSERT INTO sale_prices (sale_id, revision, sku, price_minor, regular_minor, per_buyer_limit)
SELECT $1, *
FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[])
