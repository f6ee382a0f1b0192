UPDATE allotments a
SET claimed = a.claimed + change.units
FROM UNNEST($1::uuid[], $2::text[], $3::bigint[]) AS change (sale_id, sku, units)
WHERE a.sale_id = change.sale_id AND a.sku = change.sku
