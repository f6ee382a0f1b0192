-- Has a payment whose last card was refused take no other one. No row when another one is tried by now. $1 order.
UPDATE payments
SET decline_final = true, updated_at = now()
WHERE order_id = $1 AND card_declined >= card_attempt AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
