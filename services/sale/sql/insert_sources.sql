-- Where the items of a new sale stood in the export it is made of, in one statement.
INSERT INTO sale_sources (sale_id, sku, format, line, source_key, stock)
SELECT $1, source.sku, source.format, source.line, source.key::jsonb, source.stock
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[]) AS source (sku, format, line, key, stock)
