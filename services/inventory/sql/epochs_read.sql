-- The epochs of unfinished sales: nothing else is served.
SELECT k.sale_id, s.state, k.epoch, k.server, k.run_id <> '' AS "open!"
FROM sale_stock k
JOIN sales s USING (sale_id)
WHERE s.final_at IS NULL
