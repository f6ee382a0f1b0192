-- Records that the buyer must authenticate. $1 order, $2 intent.
UPDATE payments
SET state = 'REQUIRES_ACTION', turn_at = COALESCE(turn_at, now()), updated_at = now()
WHERE order_id = $1 AND intent_id = $2 AND state IN ('DUE', 'PROCESSING')
