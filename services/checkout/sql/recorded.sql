-- Which of these orders the record has, each with its hold, and which wait as dead letters, without one; of those the youngest letter for which
-- somebody wants the order published again.
SELECT order_id AS "order_id!", hold_id AS "hold_id?", NULL::bigint AS "retry?"
FROM orders
WHERE order_id = ANY ($1) AND state <> 'DEAD_LETTER'
UNION ALL
SELECT order_id, NULL::uuid, max(dead_letter_id) FILTER (WHERE retry_at IS NOT NULL)
FROM dead_letters
WHERE order_id = ANY ($1) AND resolved_at IS NULL
GROUP BY order_id
