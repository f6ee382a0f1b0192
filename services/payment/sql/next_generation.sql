-- Has the payment's requests go out under new idempotency keys, after a look at the provider that found nothing done under the old ones.
-- No row is changed when another worker was first. $1 order, $2 the lease's id, $3 the generation that is over.
UPDATE payments
SET generation = generation + 1, generation_at = now(), key_is_spent = false, updated_at = now()
WHERE order_id = $1 AND lease_id = $2 AND generation = $3 AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
