-- Ends payments that the provider has not heard of and that have waited for it too long: its word is not needed for them, and it may not be
-- asked while the breaker is open. One that a worker has is left to it. $1 how long, in ms, $2 how many at most.
UPDATE payments
SET state = 'CANCELLED', end_reason = 'provider_unavailable', updated_at = now()
WHERE order_id IN (
    SELECT order_id FROM payments
    WHERE state = 'DUE' AND intent_id IS NULL AND first_attempt_at IS NULL AND (lease_until IS NULL OR lease_until <= now())
        AND created_at < now() - $1 * interval '1 millisecond'
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING order_id
