-- Puts a refund back until later. $1 refund, $2 the wait in ms, $3 false when the provider was not asked after all, $4 the attempt.
UPDATE refunds
SET due_at = now() + $2 * interval '1 millisecond',
    calls = CASE WHEN $3 THEN calls ELSE GREATEST(calls - 1, 0) END
WHERE refund_id = $1 AND calls = $4 AND state IN ('DUE', 'PENDING') AND due_at > now()
