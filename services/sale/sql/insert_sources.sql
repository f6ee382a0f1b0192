-- Where the items of a new sale stood in the export it is made of, and what that said of them, in one statement.
INSERT INTO sale_sources (sale_id, sku, format, line, source_key, stock, price_minor, regular_minor)
SELECT $1, source.sku, source.format, source.line, source.key::jsonb, source.stock, source.price_minor, source.regular_minor
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[])
    AS source (sku, format, line, key, stock, price_minor, regular_minor)
