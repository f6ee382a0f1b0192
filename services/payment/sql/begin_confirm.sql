-- Committed before a confirmation goes out. A wish to cancel that came first wins, and so does a worker that has taken the payment up since.
-- $1 order, $2 intent, $3 the lease's id, $4 the lease in ms.
UPDATE payments
SET state = 'PROCESSING',
    due_at = CASE WHEN due_at < lease_until THEN due_at ELSE now() + $4 * interval '1 millisecond' END,
    lease_until = now() + $4 * interval '1 millisecond',
    updated_at = now()
WHERE order_id = $1 AND intent_id = $2 AND lease_id = $3 AND NOT cancel_requested
    AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
