-- Committed before the intent's cancellation goes out. No row is changed when another worker has taken the payment up since.
-- $1 order, $2 the lease's id, $3 the lease in ms.
UPDATE payments
SET due_at = CASE WHEN due_at < lease_until THEN due_at ELSE now() + $3 * interval '1 millisecond' END,
    lease_until = now() + $3 * interval '1 millisecond',
    updated_at = now()
WHERE order_id = $1 AND lease_id = $2 AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
