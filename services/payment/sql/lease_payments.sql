-- Leases due payments: no other worker takes them up until then. $1 how many at most, $2 the lease in ms.
WITH due AS (
    SELECT order_id FROM payments
    WHERE state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION') AND due_at <= now()
    ORDER BY due_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE payments
SET due_at = now() + $2 * interval '1 millisecond',
    attempts = attempts + 1,
    first_attempt_at = COALESCE(first_attempt_at, now()),
    updated_at = now()
WHERE order_id IN (SELECT order_id FROM due)
RETURNING order_id, sale_id, state AS "state: State", currency, amount_minor, payment_method, intent_id, decline_code, cancel_requested,
    captured_minor, attempts, first_attempt_at, due_at, created_at, updated_at, traceparent
