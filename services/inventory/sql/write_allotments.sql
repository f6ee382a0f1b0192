INSERT INTO allotments (sale_id, sku, allotted)
SELECT sale_id, sku, quantity FROM sale_items WHERE sale_id = $1 ORDER BY sku
ON CONFLICT (sale_id, sku) DO UPDATE SET allotted = excluded.allotted
