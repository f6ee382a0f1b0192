-- All items of a new sale in one statement.
INSERT INTO sale_items (sale_id, sku, title, price_minor, regular_minor, quantity, per_buyer_limit)
SELECT $1, *
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
