-- Orders at their end whose payment says otherwise: money that came late, refunds, and refunds that their buyers are not told of.
SELECT o.order_id AS "order_id!"
FROM orders o
JOIN payments p ON p.order_id = o.order_id
WHERE (o.state = 'CONFIRMED' AND p.state = 'REFUNDED')
    OR (
        o.state IN ('DECLINED', 'CANCELLED')
        AND p.state = 'SUCCEEDED'
        AND NOT EXISTS (SELECT FROM outbox b WHERE b.order_id = o.order_id AND b.kind = 'refund')
    )
UNION
SELECT r.order_id
FROM refunds r
JOIN orders o ON o.order_id = r.order_id
WHERE o.state IN ('CONFIRMED', 'REFUNDED') AND r.state = 'DONE' AND r.amount_minor > 0
    AND NOT EXISTS (
        SELECT FROM outbox b
        WHERE b.order_id = r.order_id AND b.kind = 'mail' AND b.about IN ('REFUNDED', 'REFUND.' || r.refund_id)
    )
LIMIT $1
