-- Ends a payment whose intent can never be captured. No row is changed when the lease has run out.
-- $1 order, $2 the lease's id, $3 FAILED or CANCELLED.
UPDATE payments
SET state = $3, client_secret = NULL, redirect_url = NULL, lease_id = NULL, lease_until = NULL, updated_at = now()
WHERE order_id = $1 AND lease_id = $2 AND lease_until > clock_timestamp() AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
