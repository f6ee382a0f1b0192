-- Leases due refunds: no other worker takes them up until then. $1 how many at most, $2 the lease in ms.
WITH due AS (
    SELECT refund_id FROM refunds
    WHERE state IN ('DUE', 'PENDING') AND due_at <= now()
    ORDER BY due_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE refunds
    SET due_at = now() + $2 * interval '1 millisecond', calls = calls + 1
    WHERE refund_id IN (SELECT refund_id FROM due)
    RETURNING refund_id, order_id, intent_id, state, amount_minor, reason, try, provider_ref, calls
)
SELECT taken.refund_id, taken.order_id, payments.sale_id, taken.intent_id, taken.amount_minor, payments.currency, taken.reason, taken.try,
    taken.provider_ref, taken.calls AS attempts, payments.traceparent
FROM taken JOIN payments USING (order_id)
