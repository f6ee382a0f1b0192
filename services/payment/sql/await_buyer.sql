-- Records that the buyer must authenticate, and what that takes, also where the version before has recorded the one without the other.
-- $1 order, $2 intent, $3 the intent's client secret, $4 where the buyer is sent, $5 how long the buyer has, in ms, from when it first was the
-- buyer's turn.
UPDATE payments
SET state = 'REQUIRES_ACTION',
    turn_at = COALESCE(turn_at, now()),
    turn_until = COALESCE(turn_at, now()) + $5 * interval '1 millisecond',
    client_secret = $3::text,
    redirect_url = $4,
    updated_at = now()
WHERE order_id = $1 AND intent_id = $2
    AND (state IN ('DUE', 'PROCESSING') OR state = 'REQUIRES_ACTION' AND (turn_at IS NULL OR client_secret IS NULL AND $3::text IS NOT NULL))
