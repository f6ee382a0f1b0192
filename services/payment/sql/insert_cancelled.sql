-- Records that an order without a payment must never be charged. $1 order, $2 sale, $3 currency, $4 amount.
INSERT INTO payments (order_id, sale_id, state, currency, amount_minor, payment_method, cancel_requested)
VALUES ($1, $2, 'CANCELLED', $3, $4, '', true)
ON CONFLICT (order_id) DO NOTHING
