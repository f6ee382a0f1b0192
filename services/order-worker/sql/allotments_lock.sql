SELECT a.sale_id, a.sku, a.allotted - a.claimed AS "units_left!"
FROM allotments a
JOIN UNNEST($1::uuid[], $2::text[]) AS wanted (sale_id, sku) ON wanted.sale_id = a.sale_id AND wanted.sku = a.sku
ORDER BY a.sale_id, a.sku
FOR UPDATE OF a
