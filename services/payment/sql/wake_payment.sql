-- Has an open payment looked at now, or as soon as the provider is ready to be asked. A lease is not shortened. $1 order.
UPDATE payments
SET due_at = LEAST(due_at, GREATEST(now(), not_before))
WHERE order_id = $1 AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
