-- The sales that may have placed holds: those selling, and those that ended lately.
SELECT s.sale_id
FROM sales AS s
INNER JOIN sale_stock USING (sale_id)
WHERE s.may_sell OR (s.state = 'ENDED' AND s.updated_at > now() - interval '1 day')
ORDER BY s.sale_id
LIMIT 1000
