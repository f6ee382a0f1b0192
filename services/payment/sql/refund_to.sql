-- Moves a refund. $1 refund, $2 state, $3 the provider's refund; none once its try is over, and the next one begins, $4 how long until it is
-- looked at, in ms.
UPDATE refunds
SET state = $2,
    provider_ref = $3,
    try = try + CASE WHEN $2 = 'DUE' THEN 1 ELSE 0 END,
    failed = failed + CASE WHEN $2 IN ('DUE', 'FAILED') THEN 1 ELSE 0 END,
    due_at = now() + $4 * interval '1 millisecond',
    done_at = CASE WHEN $2 = 'DONE' THEN now() END
WHERE refund_id = $1
