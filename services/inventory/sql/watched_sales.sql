-- The sales whose stock is shown in metrics: those selling, and those that ended lately, the latest first. $1 how many at most.
SELECT k.sale_id
FROM sale_stock k
JOIN sales s USING (sale_id)
WHERE k.run_id <> '' AND s.final_at IS NULL AND (s.may_sell OR (s.state = 'ENDED' AND s.updated_at > now() - interval '1 hour'))
ORDER BY s.starts_at DESC, k.sale_id
LIMIT $1
