-- The order whose payment has an intent. $1 intent.
SELECT order_id FROM payments WHERE intent_id = $1
