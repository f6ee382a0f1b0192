-- Committed before a confirmation goes out. A wish to cancel that came first wins, and so does a worker that has taken the payment up since.
-- $1 order, $2 intent, $3 the lease's id, $4 the lease in ms, $5 the number of the card.
UPDATE payments
SET state = 'PROCESSING',
    action = NULL,
    card_sent = $5,
    due_at = CASE WHEN due_at < lease_until THEN due_at ELSE now() + $4 * interval '1 millisecond' END,
    lease_until = now() + $4 * interval '1 millisecond',
    updated_at = now()
WHERE order_id = $1 AND intent_id = $2 AND lease_id = $3 AND NOT cancel_requested AND NOT decline_final
    AND card_attempt = $5 AND card_declined < $5
    AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
