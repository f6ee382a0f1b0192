-- Orders at their end whose payment says otherwise: money that came late, and refunds.
SELECT o.order_id
FROM orders o
JOIN payments p ON p.order_id = o.order_id
WHERE (o.state = 'CONFIRMED' AND p.state = 'REFUNDED')
    OR (
        o.state IN ('DECLINED', 'CANCELLED')
        AND p.state = 'SUCCEEDED'
        AND NOT EXISTS (SELECT FROM outbox b WHERE b.order_id = o.order_id AND b.kind = 'refund')
    )
LIMIT $1
