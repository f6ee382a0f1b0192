-- The compare-and-set that ends a payment. $1 order, $2 the state it was ruled on, $3 the new state, $4 what was captured, $5 why it ends
-- though neither the buyer nor the card is the reason: what was recorded before stays unless it was charged after all.
UPDATE payments
SET state = $3,
    captured_minor = $4,
    action = NULL,
    client_secret = NULL,
    redirect_url = NULL,
    decline_code = CASE WHEN $3 = 'FAILED' THEN decline_code END,
    end_reason = CASE WHEN $3 IN ('SUCCEEDED', 'REFUNDED') THEN NULL ELSE COALESCE($5, end_reason) END,
    updated_at = now()
WHERE order_id = $1 AND state = $2
