-- Has the payment's intent confirmed with another card. $1 order, $2 the number of the card, $3 the provider's token of the means of payment.
UPDATE payments
SET state = 'PROCESSING', action = NULL, card_attempt = $2, payment_method = $3, due_at = now(), updated_at = now()
WHERE order_id = $1 AND state = 'REQUIRES_ACTION' AND card_attempt = $2 - 1
