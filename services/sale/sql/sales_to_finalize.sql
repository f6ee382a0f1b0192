-- Sales that are over and whose report is not final yet, behind the sale $1 on (uses the index sales_over).
SELECT sale_id
FROM sales
WHERE state IN ('ENDED', 'CANCELLED') AND final_at IS NULL AND sale_id > $1
ORDER BY sale_id
LIMIT $2
