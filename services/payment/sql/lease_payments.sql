-- Leases due payments, in turn over the sales: no other worker takes them up until then. One that is woken meanwhile stays leased. Which sale
-- comes first is left to chance, so that of more sales than are taken none waits for ever. $1 how many at most, $2 the lease in ms.
WITH RECURSIVE waiting AS (
    (
        SELECT sale_id FROM payments
        WHERE state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
        ORDER BY sale_id
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT p.sale_id FROM payments p
        WHERE p.state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION') AND p.sale_id > w.sale_id
        ORDER BY p.sale_id
        LIMIT 1
    )
    FROM waiting w
    WHERE w.sale_id IS NOT NULL
), next AS (
    SELECT n.order_id, n.place, random() AS draw
    FROM waiting w
    CROSS JOIN LATERAL (
        SELECT p.order_id, row_number() OVER (ORDER BY p.due_at) AS place FROM payments p
        WHERE p.sale_id = w.sale_id AND p.state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION') AND p.due_at <= now()
            AND (p.lease_until IS NULL OR p.lease_until <= now())
        ORDER BY p.due_at
        -- More than are taken: another instance may take the same ones at this moment. Of many sales, fewer of each.
        LIMIT GREATEST($1::bigint, 4 * $1::bigint / (SELECT count(w.sale_id) FROM waiting w))
    ) n
), due AS (
    SELECT p.order_id
    FROM payments p
    JOIN next n USING (order_id)
    WHERE p.state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION') AND p.due_at <= now() AND (p.lease_until IS NULL OR p.lease_until <= now())
    ORDER BY n.place, n.draw
    LIMIT $1
    FOR UPDATE OF p SKIP LOCKED
)
UPDATE payments
SET lease_id = gen_random_uuid(),
    lease_until = now() + $2 * interval '1 millisecond',
    due_at = now() + $2 * interval '1 millisecond',
    attempts = attempts + 1,
    updated_at = now()
WHERE order_id IN (SELECT order_id FROM due)
RETURNING order_id, sale_id, state AS "state: State", currency, amount_minor, payment_method, intent_id, decline_code, decline_ref,
    decline_final, card_attempt, card_declined, card_sent, card_declined_at, action AS "action: Action", cancel_requested,
    end_reason AS "end_reason: EndReason", captured_minor, refunded_minor, attempts, failures, generation, generation_at, key_is_spent AS key_spent, first_attempt_at,
    last_attempt_at, turn_at, patience_ms, lease_id, due_at, created_at, updated_at, traceparent
