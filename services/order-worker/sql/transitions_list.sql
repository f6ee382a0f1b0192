-- Oldest first, from behind $2. $3 how many at most.
SELECT transition_id, from_state, to_state, cause, at
FROM order_transitions
WHERE order_id = $1 AND transition_id > $2
ORDER BY transition_id
LIMIT $3
