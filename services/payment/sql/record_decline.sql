-- Records that the provider has refused a card: the one of number $5, or, where only the intent says so, the one that was sent, or one more that
-- was confirmed past us. A card that is to be tried and was not sent cannot have been refused: then only the refusal is noted, so that it is known
-- when it is seen again. No row then, nor when that refusal is recorded, or the payment has ended. $1 order, $2 intent, $3 the provider's code, $4 what
-- tells this refusal from others, $5 the number of the card, if it is known, $6 the number from which on no other is taken, $7 the provider's id
-- of the request.
WITH card AS (
    SELECT COALESCE($5, CASE WHEN card_declined < card_attempt THEN card_attempt ELSE card_attempt + 1 END) AS n, card_attempt, payment_method,
        $5::integer IS NULL AND card_declined < card_attempt AND card_sent < card_attempt AS is_unsent
    FROM payments
    WHERE order_id = $1
    FOR UPDATE
), declined AS (
    UPDATE payments p
    SET decline_code = $3,
        decline_ref = COALESCE($4, p.decline_ref),
        decline_final = p.decline_final OR NOT card.is_unsent AND card.n >= $6,
        card_attempt = GREATEST(p.card_attempt, card.n),
        card_declined = CASE WHEN card.is_unsent THEN p.card_declined ELSE card.n END,
        card_declined_at = COALESCE(p.card_declined_at, now()),
        -- Who watches the order is told of another refusal.
        action_at = CASE WHEN p.state = 'REQUIRES_ACTION' THEN now() ELSE p.action_at END,
        updated_at = now()
    FROM card
    WHERE p.order_id = $1 AND p.intent_id IS NOT DISTINCT FROM $2 AND p.card_declined < card.n
        AND p.state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
        -- Of two that record one refusal at once the second one sees the row as the first one left it, and not its attempt.
        AND ($5 IS NOT NULL OR p.decline_ref IS DISTINCT FROM $4)
        AND ($5 IS NOT NULL OR NOT EXISTS (SELECT FROM payment_attempts a WHERE a.order_id = $1 AND a.decline_ref = $4))
    RETURNING p.order_id, card.n, card.is_unsent, CASE WHEN card.n = card.card_attempt THEN card.payment_method END AS method
)
INSERT INTO payment_attempts (order_id, n, method, outcome, decline_code, decline_ref, stripe_request_id)
SELECT order_id, n, method, 'DECLINED', $3, $4, $7 FROM declined WHERE NOT is_unsent
ON CONFLICT (order_id, n) DO UPDATE
SET outcome = 'DECLINED', decline_code = $3, decline_ref = $4, stripe_request_id = $7
