UPDATE outbox o
SET done_at = now(), last_error = result.error
FROM UNNEST($1::bigint[], $2::text[]) AS result (outbox_id, error)
WHERE o.outbox_id = result.outbox_id AND o.done_at IS NULL
