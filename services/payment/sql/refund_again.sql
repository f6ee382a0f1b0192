-- Has a refund that failed tried again, over what is left now. $1 refund, $2 amount.
UPDATE refunds
SET state = 'DUE', amount_minor = $2, try = try + 1, failed = 0, provider_ref = NULL, due_at = now(), done_at = NULL
WHERE refund_id = $1 AND state = 'FAILED'
