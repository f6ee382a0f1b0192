SELECT o.order_id, o.state AS order_state, o.cancel_requested_at IS NOT NULL AS "cancel_requested!", p.state AS payment_state,
    p.decline_code, p.end_reason AS payment_end_reason, o.traceparent
FROM orders o
JOIN payments p ON p.order_id = o.order_id
WHERE o.order_id = ANY ($1)
ORDER BY o.order_id
FOR UPDATE OF o
