INSERT INTO order_lines (order_id, sku, quantity, unit_price_minor, price_revision)
SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
