-- Puts a payment back until later. $1 order, $2 the wait in ms, $3 false when the provider was not asked after all, $4 the attempt it
-- was taken up for: a payment that was taken up again since, or made due, is left alone. One the provider has never been
-- asked about is as if it had not been taken up: its patience has not begun.
UPDATE payments
SET due_at = now() + $2 * interval '1 millisecond',
    attempts = CASE WHEN $3 THEN attempts ELSE GREATEST(attempts - 1, 0) END,
    first_attempt_at = CASE WHEN $3 OR attempts > 1 THEN first_attempt_at END,
    updated_at = now()
WHERE order_id = $1 AND attempts = $4 AND due_at > now()
    AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
