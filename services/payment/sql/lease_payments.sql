-- Leases due payments: no other worker takes them up until then. One that is woken meanwhile stays leased. $1 how many at most, $2 the
-- lease in ms.
WITH due AS (
    SELECT order_id FROM payments
    WHERE state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION') AND due_at <= now() AND (lease_until IS NULL OR lease_until <= now())
    ORDER BY due_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE payments
SET lease_id = gen_random_uuid(),
    lease_until = now() + $2 * interval '1 millisecond',
    due_at = now() + $2 * interval '1 millisecond',
    attempts = attempts + 1,
    updated_at = now()
WHERE order_id IN (SELECT order_id FROM due)
RETURNING order_id, sale_id, state AS "state: State", currency, amount_minor, payment_method, intent_id, decline_code, cancel_requested,
    end_reason AS "end_reason: EndReason", captured_minor, attempts, failures, generation, generation_at, first_attempt_at,
    last_attempt_at, turn_at, lease_id, due_at, created_at, updated_at, traceparent
