-- Which of these orders the record has, each with its hold; which are parked; and which wait as dead letters, of those the youngest
-- that an operator had published again. An order may be in several rows.
SELECT order_id AS "order_id!", hold_id AS "hold_id?", NULL::bigint AS "retry?", false AS "parked!"
FROM orders
WHERE order_id = ANY ($1) AND state <> 'DEAD_LETTER'
UNION ALL
SELECT order_id, NULL::uuid, NULL::bigint, true
FROM parked_orders
WHERE order_id = ANY ($1)
UNION ALL
SELECT order_id, NULL::uuid, max(dead_letter_id) FILTER (WHERE retry_at IS NOT NULL), false
FROM dead_letters
WHERE order_id = ANY ($1) AND resolved_at IS NULL
GROUP BY order_id
