-- Ends a payment that has no intent: none was ever confirmed, so nothing can be captured. $1 order, $2 FAILED or CANCELLED.
UPDATE payments
SET state = $2, updated_at = now()
WHERE order_id = $1 AND state = 'DUE' AND intent_id IS NULL
