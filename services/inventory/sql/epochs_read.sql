-- The epochs of unfinished sales. A hold outlives its sale by a few hold lengths at most; a week covers any outage in between.
SELECT k.sale_id, s.state, k.epoch, k.server, k.run_id <> '' AS "open!"
FROM sale_stock k
JOIN sales s USING (sale_id)
WHERE s.final_at IS NULL AND s.ends_at > now() - interval '7 days'
