-- What the record knows of sale $1 for its checks: its clock, the units that may be sold, one of the skus, and whether the stock was ever loaded.
SELECT clock_timestamp() AS "now!", coalesce(sum(coalesce(a.allotted, i.quantity)), 0)::bigint AS "units!", min(i.sku) AS "sku?",
    EXISTS (SELECT FROM sale_stock k WHERE k.sale_id = $1) AS "loaded!"
FROM sale_items i
LEFT JOIN allotments a USING (sale_id, sku)
WHERE i.sale_id = $1
