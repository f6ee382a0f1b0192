-- Records how the card that was under way ended. $1 order, $2 SUCCEEDED or CANCELLED.
UPDATE payment_attempts SET outcome = $2 WHERE order_id = $1 AND outcome IS NULL
