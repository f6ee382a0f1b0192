-- The refunds of an order. The row of its payment is locked: that is where all that write them begin. $1 order.
SELECT refund_id, order_id, intent_id, state AS "state: RefundState", amount_minor, is_rest, try, failed, provider_ref
FROM refunds
WHERE order_id = $1
ORDER BY refund_id
FOR UPDATE
