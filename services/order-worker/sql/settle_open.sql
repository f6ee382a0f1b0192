-- Open orders whose payment has moved on. The states are compared again under locks; this only finds them.
SELECT o.order_id
FROM orders o
JOIN payments p ON p.order_id = o.order_id
WHERE (o.state IN ('CLAIMED', 'PAYING', 'ACTION_REQUIRED') AND p.state IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'REFUNDED'))
    OR (o.state = 'PAYING' AND p.state = 'REQUIRES_ACTION')
    OR (o.state = 'ACTION_REQUIRED' AND p.state IN ('DUE', 'PROCESSING'))
ORDER BY p.updated_at
LIMIT $1
