-- Payments that contradict the ledger of the money that moved at the provider, or their order, the oldest first; one that has several faults has a
-- row for each. $1 of one sale or of all, $2 recorded since when, $3 after how many failures in a row one is stuck, $4 how many rows.
WITH compared AS (
    -- Two parts for the sake of the indexes, of which each has the states of one.
    SELECT order_id, sale_id, state, currency, amount_minor, captured_minor, refunded_minor, intent_id, failures, created_at, updated_at
    FROM payments
    WHERE state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION') AND created_at >= $2 AND ($1::uuid IS NULL OR sale_id = $1)
    UNION ALL
    SELECT order_id, sale_id, state, currency, amount_minor, captured_minor, refunded_minor, intent_id, failures, created_at, updated_at
    FROM payments
    WHERE state IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'REFUNDED') AND created_at >= $2 AND ($1::uuid IS NULL OR sale_id = $1)
), moved AS (
    -- What the provider has kept of an order's money: on all of its intents, and on the one of its payment.
    SELECT m.order_id, sum(m.signed)::bigint AS kept, COALESCE(sum(m.signed) FILTER (WHERE m.is_own), 0)::bigint AS own
    FROM (
        SELECT m.order_id,
            CASE WHEN m.kind = 'REFUNDED' THEN -m.amount_minor ELSE m.amount_minor END AS signed,
            CASE
                WHEN m.kind = 'CAPTURED' THEN m.provider_ref IS NOT DISTINCT FROM c.intent_id
                ELSE r.intent_id IS NULL OR r.intent_id IS NOT DISTINCT FROM c.intent_id
            END AS is_own
        FROM compared c
        JOIN money_moves m USING (order_id)
        LEFT JOIN refunds r ON r.order_id = m.order_id AND r.provider_ref = m.provider_ref
        WHERE m.kind IN ('CAPTURED', 'REFUNDED', 'REFUND_FAILED')
    ) AS m
    GROUP BY m.order_id
), back AS (
    SELECT r.order_id, bool_or(r.state IN ('DUE', 'PENDING')) AS under_way,
        -- What was to go back and did not, less what a person has given back instead.
        COALESCE(sum(r.amount_minor) FILTER (WHERE r.state = 'FAILED'), 0)::bigint
            - COALESCE(sum(r.amount_minor) FILTER (WHERE r.state = 'DONE' AND r.reason = 'by_hand'), 0)::bigint AS missing
    FROM compared c
    JOIN refunds r USING (order_id)
    GROUP BY r.order_id
)
SELECT c.order_id AS "order_id!", c.sale_id AS "sale_id!", c.currency AS "currency!", c.updated_at AS "updated_at!", found.kind AS "kind!",
    found.amount AS "amount_minor!"
FROM compared c
LEFT JOIN moved m USING (order_id)
LEFT JOIN back b USING (order_id)
LEFT JOIN orders o USING (order_id)
CROSS JOIN LATERAL (
    SELECT COALESCE(m.kept, 0) AS kept, COALESCE(m.own, 0) AS own, LEAST(COALESCE(b.missing, 0), COALESCE(m.kept, 0)) AS missing,
        COALESCE(b.under_way, false) AS under_way
) AS money
CROSS JOIN LATERAL (VALUES
    ('STUCK', c.state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION') AND c.failures >= $3, c.amount_minor),
    ('REFUND_FAILED', money.missing > 0, money.missing),
    -- While money goes back the two are apart for a while.
    ('LEDGER', money.own <> c.captured_minor - c.refunded_minor AND NOT money.under_way, money.own - (c.captured_minor - c.refunded_minor)),
    (
        'KEPT', money.kept > 0 AND money.missing <= 0 AND NOT money.under_way AND o.state IN ('DECLINED', 'CANCELLED', 'REFUNDED'),
        money.kept
    ),
    ('UNPAID', o.state = 'CONFIRMED' AND c.state NOT IN ('SUCCEEDED', 'REFUNDED'), c.amount_minor)
) AS found (kind, is_wrong, amount)
WHERE found.is_wrong
ORDER BY c.created_at, c.order_id, found.kind
LIMIT $4
