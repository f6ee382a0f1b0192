-- What the sale offers, with what was added and withdrawn since, as far as `allotted` has it.
INSERT INTO allotments (sale_id, sku, allotted)
SELECT i.sale_id, i.sku, i.quantity + coalesce((
    SELECT sum(j.delta)::bigint
    FROM stock_adjustments j
    WHERE j.sale_id = i.sale_id AND j.sku = i.sku AND (j.delta > 0 OR j.state = 'DONE')
), 0)
FROM sale_items i
WHERE i.sale_id = $1
ORDER BY i.sku
ON CONFLICT (sale_id, sku) DO UPDATE SET allotted = excluded.allotted
