-- The orders that wait because of these letters.
SELECT o.order_id
FROM orders o
WHERE o.state = 'DEAD_LETTER'
    AND o.order_id IN (SELECT order_id FROM dead_letters WHERE dead_letter_id = ANY ($1) AND resolved_at IS NULL)
ORDER BY o.order_id
FOR UPDATE OF o
