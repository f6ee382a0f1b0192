-- Has an open payment looked at soon, because an event said that something happened. A moment later rather than at once: the
-- worker whose own call caused the event is usually still at it. $1 order, $2 intent, $3 the moment in ms.
UPDATE payments
SET due_at = LEAST(due_at, now() + $3 * interval '1 millisecond')
WHERE order_id = $1 AND intent_id = $2 AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
