-- Has the holds of these orders closed once more. Counting it as an attempt makes whoever closes one right now, before the units were taken, confirm
-- nothing.
UPDATE outbox
SET due_at = now(), done_at = NULL, attempts = attempts + 1
WHERE order_id = ANY ($1) AND kind = 'close_hold'
