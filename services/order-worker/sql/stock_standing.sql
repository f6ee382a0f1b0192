-- Read after the row of sale_stock is locked and in a statement of its own: the statement that waited for the lock saw stock_fences as it
-- was before.
SELECT k.epoch, f.epoch AS "passed?"
FROM sale_stock k
LEFT JOIN stock_fences f ON f.sale_id = k.sale_id
WHERE k.sale_id = $1
