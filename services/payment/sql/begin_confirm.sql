-- Committed before a confirmation goes out. A wish to cancel that came first wins. $1 order, $2 intent.
UPDATE payments
SET state = 'PROCESSING', updated_at = now()
WHERE order_id = $1 AND intent_id = $2 AND NOT cancel_requested
    AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
