-- Whoever takes a row has it until the lease ends: a carrier that dies loses nothing, one that is merely slow is doubled harmlessly.
WITH due AS MATERIALIZED (
    SELECT outbox_id
    FROM outbox
    WHERE kind = $1 AND done_at IS NULL AND due_at <= now()
    ORDER BY due_at, outbox_id
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE outbox o
SET due_at = now() + $3::bigint * interval '1 millisecond', attempts = o.attempts + 1
FROM due, orders r
WHERE o.outbox_id = due.outbox_id AND r.order_id = o.order_id
RETURNING o.outbox_id, o.order_id, o.about, o.attempts, r.traceparent
