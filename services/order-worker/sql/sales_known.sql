SELECT s.sale_id AS "sale_id!", s.currency AS "currency!", f.epoch AS "epoch?"
FROM sales s
LEFT JOIN stock_fences f ON f.sale_id = s.sale_id
WHERE s.sale_id = ANY ($1)
