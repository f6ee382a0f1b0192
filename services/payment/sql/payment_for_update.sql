-- Reads a payment and keeps it until the transaction ends. $1 order.
SELECT order_id, sale_id, state AS "state: State", currency, amount_minor, payment_method, intent_id, decline_code, decline_ref,
    decline_final, card_attempt, card_declined, card_sent, card_declined_at, action AS "action: Action", cancel_requested,
    end_reason AS "end_reason: EndReason", captured_minor, refunded_minor, attempts, failures, generation, generation_at, key_is_spent AS key_spent, first_attempt_at,
    last_attempt_at, turn_at, patience_ms, lease_id, due_at, created_at, updated_at, traceparent
FROM payments
WHERE order_id = $1
FOR UPDATE
