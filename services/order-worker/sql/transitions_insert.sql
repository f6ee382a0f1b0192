INSERT INTO order_transitions (order_id, from_state, to_state, cause)
SELECT step.order_id, step.from_state, step.to_state, step.cause
FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS step (order_id, from_state, to_state, cause, place)
ORDER BY step.place
