-- Gives a refund up for a person to look at. $1 refund.
UPDATE refunds SET state = 'FAILED' WHERE refund_id = $1 AND state = 'DUE'
