-- The order whose payment a request ended, and why, if it ended one. $1 request id.
SELECT order_id, reason FROM payment_abandonments WHERE request_id = $1
