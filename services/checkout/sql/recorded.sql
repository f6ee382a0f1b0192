-- Which of these orders the record has, each with its hold, and which have become dead letters, without one.
SELECT order_id AS "order_id!", hold_id AS "hold_id?" FROM orders WHERE order_id = ANY ($1)
UNION ALL
SELECT DISTINCT order_id, NULL::uuid FROM dead_letters WHERE order_id = ANY ($1)
