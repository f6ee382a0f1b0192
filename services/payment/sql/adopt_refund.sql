-- Records a refund that was made by hand at the provider, once; one that the provider works on is asked about after a while. $1 its id here, $2 order, $3 intent, $4 state, $5 amount, $6 the provider's refund.
INSERT INTO refunds (refund_id, order_id, intent_id, state, amount_minor, is_rest, reason, provider_ref, done_at, due_at)
VALUES ($1, $2, $3, $4, $5, false, 'by_hand', $6, CASE WHEN $4 = 'DONE' THEN now() END, now() + interval '1 minute')
ON CONFLICT DO NOTHING
