-- Takes up to $2 parked orders of a sale for $3 ms, the longest parked first; with $4 also those that are not due. Two that take the same one do
-- no harm: the transaction that records it locks the row and looks again.
WITH due AS MATERIALIZED (
    SELECT order_id
    FROM parked_orders
    WHERE sale_id = $1 AND (due_at <= now() OR $4)
    ORDER BY parked_at, order_id
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE parked_orders p
SET due_at = now() + $3::bigint * interval '1 millisecond', attempts = p.attempts + 1
FROM due
WHERE p.order_id = due.order_id
RETURNING p.order_id, p.seq, p.message::text AS "message!", p.traceparent, p.attempts,
    EXISTS (SELECT FROM orders o WHERE o.order_id = p.order_id AND o.state <> 'DEAD_LETTER') AS "recorded!"
