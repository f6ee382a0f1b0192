-- Has a refund go out under another key, after a look at the provider that found nothing done under the present one. $1 refund, $2 the try that is
-- over, $3 how long until it is looked at, in ms.
UPDATE refunds
SET try = try + 1, due_at = now() + $3 * interval '1 millisecond'
WHERE refund_id = $1 AND try = $2 AND state = 'DUE'
