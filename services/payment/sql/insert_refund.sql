-- Records a refund as due, once. $1 order, $2 amount, $3 why.
INSERT INTO refunds (order_id, state, amount_minor, reason)
VALUES ($1, 'DUE', $2, $3)
ON CONFLICT (order_id) DO NOTHING
