-- Leases one payment that has an intent, unless it is leased: no worker takes it up until then. When it is due stays as it is.
-- $1 order, $2 the lease in ms.
UPDATE payments
SET lease_id = gen_random_uuid(), lease_until = now() + $2 * interval '1 millisecond'
WHERE order_id = $1 AND intent_id IS NOT NULL AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
    AND (lease_until IS NULL OR lease_until <= now())
RETURNING lease_id AS "lease_id!"
