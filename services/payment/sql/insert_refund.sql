-- Records a refund as due, once. $1 its id, $2 order, $3 intent, $4 amount, $5 whether it is all that is left, $6 why, $7 in whose words.
INSERT INTO refunds (refund_id, order_id, intent_id, state, amount_minor, is_rest, reason, note)
VALUES ($1, $2, $3, 'DUE', $4, $5, $6, $7)
ON CONFLICT DO NOTHING
