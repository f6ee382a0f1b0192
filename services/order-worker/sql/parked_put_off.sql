-- Puts these leased parked orders of a sale ($3) off for $2 ms; with $4 also the sale's others that are due before that.
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
