-- Records that the money is back. $1 order, $2 the provider's refund.
UPDATE refunds
SET state = 'DONE', refund_id = $2, done_at = now()
WHERE order_id = $1 AND state = 'DUE'
