-- Leases due refunds: no other worker takes them up until then. $1 how many at most, $2 the lease in ms.
WITH due AS (
    SELECT order_id FROM refunds
    WHERE state = 'DUE' AND due_at <= now()
    ORDER BY due_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE refunds
    SET due_at = now() + $2 * interval '1 millisecond', attempts = attempts + 1
    WHERE order_id IN (SELECT order_id FROM due)
    RETURNING order_id, amount_minor, reason, attempts
)
SELECT taken.order_id, payments.sale_id, taken.amount_minor, payments.currency, taken.reason,
    payments.intent_id AS "intent_id!", taken.attempts, payments.traceparent
FROM taken JOIN payments USING (order_id)
