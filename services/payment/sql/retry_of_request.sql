-- The means of payment that an earlier request of this id named. $1 order, $2 request.
SELECT method FROM payment_attempts WHERE order_id = $1 AND request_id = $2
