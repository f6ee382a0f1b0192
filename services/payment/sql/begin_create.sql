-- Committed before a request to create the intent goes out, and answers with what it has to say: what an earlier one said. No row when the
-- payment has an intent, has ended, or is another worker's by now. The lease begins again, for the longest that the request can take.
-- $1 order, $2 the lease's id, $3 the form, $4 the lease in ms.
UPDATE payments
SET create_form = COALESCE(create_form, $3),
    generation_at = COALESCE(generation_at, now()),
    first_attempt_at = COALESCE(first_attempt_at, now()),
    last_attempt_at = now(),
    due_at = CASE WHEN due_at < lease_until THEN due_at ELSE now() + $4 * interval '1 millisecond' END,
    lease_until = now() + $4 * interval '1 millisecond',
    updated_at = now()
WHERE order_id = $1 AND lease_id = $2 AND state = 'DUE' AND intent_id IS NULL
RETURNING create_form AS "create_form!"
