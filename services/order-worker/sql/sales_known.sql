SELECT s.sale_id AS "sale_id!", stock.epoch AS "epoch?"
FROM sales s
LEFT JOIN sale_stock stock ON stock.sale_id = s.sale_id
WHERE s.sale_id = ANY ($1)
