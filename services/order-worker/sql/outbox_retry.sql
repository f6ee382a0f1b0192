UPDATE outbox o
SET due_at = now() + result.delay_ms * interval '1 millisecond', last_error = result.error
FROM UNNEST($1::bigint[], $2::bigint[], $3::text[]) AS result (outbox_id, delay_ms, error)
WHERE o.outbox_id = result.outbox_id AND o.done_at IS NULL
