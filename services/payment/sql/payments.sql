-- Reads payments. $1 order ids.
SELECT order_id, sale_id, state AS "state: State", currency, amount_minor, payment_method, intent_id, decline_code, cancel_requested,
    captured_minor, attempts, first_attempt_at, due_at, created_at, updated_at, traceparent
FROM payments
WHERE order_id = ANY($1)
