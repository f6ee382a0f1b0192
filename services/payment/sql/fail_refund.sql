-- Gives a part up that is more than is left of the money. $1 refund.
UPDATE refunds SET state = 'FAILED' WHERE refund_id = $1 AND state = 'DUE'
