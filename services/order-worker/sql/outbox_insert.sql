-- A cause writes its consequence once; only an order that comes back to a state it had before is announced once more.
INSERT INTO outbox (order_id, kind, about)
SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[])
ON CONFLICT (order_id, kind, about) DO UPDATE
SET due_at = now(), done_at = NULL, attempts = 0
WHERE outbox.kind = 'event' AND outbox.done_at IS NOT NULL
