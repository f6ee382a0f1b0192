-- Has nobody look at these parked orders of a sale ($3) for $2 ms, which were taken and go on waiting; with $4 at none that is due before.
WITH waiting AS (
    SELECT order_id
    FROM parked_orders
    WHERE sale_id = $1 AND (order_id = ANY ($3) OR ($4 AND due_at < now() + $2::bigint * interval '1 millisecond'))
    FOR UPDATE SKIP LOCKED
)
UPDATE parked_orders p
SET due_at = now() + $2::bigint * interval '1 millisecond'
FROM waiting
WHERE p.order_id = waiting.order_id
