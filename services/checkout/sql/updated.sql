-- When orders were last changed, or what their buyers have to do was.
SELECT o.order_id, GREATEST(o.updated_at, p.action_at) AS "updated_at!"
FROM orders o
LEFT JOIN payments p ON p.order_id = o.order_id AND p.state = 'REQUIRES_ACTION' AND o.state = 'ACTION_REQUIRED'
WHERE o.order_id = ANY ($1)
