-- Puts a payment back until later, or until it was woken meanwhile. A payment that is another worker's by now is left alone.
-- $1 order, $2 the lease's id, $3 the wait in ms, $4 whether it was an attempt, $5 whether that showed that our requests are wrong or that
-- answers cannot be read, $6 whether the provider has still not heard of it, so that it is as if it had not been taken up, $7
-- whether the provider answers under the present keys with what it has stored, $8 for how long it asked not to be asked, in ms.
UPDATE payments
SET due_at = CASE WHEN due_at < lease_until THEN due_at ELSE now() + $3 * interval '1 millisecond' END,
    attempts = CASE WHEN $4 THEN attempts ELSE GREATEST(attempts - 1, 0) END,
    failures = CASE WHEN $5 THEN failures + 1 WHEN $4 THEN 0 ELSE failures END,
    first_attempt_at = CASE WHEN $6 THEN NULL ELSE first_attempt_at END,
    last_attempt_at = CASE WHEN $6 THEN NULL ELSE last_attempt_at END,
    generation_at = CASE WHEN $6 THEN NULL ELSE generation_at END,
    key_is_spent = $7,
    not_before = now() + $8 * interval '1 millisecond',
    lease_id = NULL,
    lease_until = NULL,
    updated_at = now()
WHERE order_id = $1 AND lease_id = $2 AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
