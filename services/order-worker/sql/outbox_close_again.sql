-- Has the holds of these orders closed once more. It counts as an attempt, so that a worker that is closing one at this moment, before the units
-- were taken, does not mark it as done.
UPDATE outbox
SET due_at = now(), done_at = NULL, attempts = attempts + 1
WHERE order_id = ANY ($1) AND kind = 'close_hold'
