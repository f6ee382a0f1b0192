-- Records another card that is to be tried. $1 order, $2 its number, $3 the request, $4 the provider's token of the means of payment.
INSERT INTO payment_attempts (order_id, n, request_id, method) VALUES ($1, $2, $3, $4)
