-- Of items the sale no longer has. Before the first order nothing is claimed. NOT IN is read once and hashed; NOT EXISTS, while the planner
-- has not heard of a sale's items yet, compares each with all.
DELETE FROM allotments
WHERE sale_id = $1 AND sku NOT IN (SELECT i.sku FROM sale_items i WHERE i.sale_id = $1)
