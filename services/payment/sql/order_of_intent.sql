-- The order whose payment has an intent, or for which its money goes back. $1 intent.
SELECT order_id AS "order_id!" FROM payments WHERE intent_id = $1
UNION
SELECT order_id FROM refunds WHERE intent_id = $1
LIMIT 1
