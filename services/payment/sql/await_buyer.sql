-- Records that it is the buyer's turn, and what they need, also where the version before has recorded the one without the other. No row when
-- that is known, or when another card is tried by now. $1 order, $2 intent, $3 the number of the card the intent was seen with, $4 what the buyer
-- has to do, $5 the intent's client secret, $6 where the buyer is sent, $7 how long they may take to authenticate, in ms from when a card first
-- asks for it, $8 how long they may name other cards, in ms from the first refusal.
UPDATE payments
SET state = 'REQUIRES_ACTION',
    action = $4,
    action_at = now(),
    turn_at = CASE WHEN $4 = 'AUTHENTICATE' AND action IS DISTINCT FROM 'AUTHENTICATE' THEN now() ELSE COALESCE(turn_at, now()) END,
    turn_until = CASE
        WHEN $4 = 'NEW_METHOD' THEN COALESCE(card_declined_at, now()) + $8 * interval '1 millisecond'
        WHEN action IS DISTINCT FROM 'AUTHENTICATE' THEN now() + $7 * interval '1 millisecond'
        ELSE COALESCE(turn_at, now()) + $7 * interval '1 millisecond'
    END,
    client_secret = $5::text,
    redirect_url = $6,
    updated_at = now()
WHERE order_id = $1 AND intent_id = $2 AND card_attempt = $3
    AND ($4 <> 'NEW_METHOD' OR card_declined >= card_attempt AND NOT decline_final)
    AND (
        state IN ('DUE', 'PROCESSING')
        OR state = 'REQUIRES_ACTION'
            AND (action IS DISTINCT FROM $4 OR turn_at IS NULL OR client_secret IS NULL AND $5::text IS NOT NULL)
    )
