-- Only if the row was neither leased again since nor is to be carried out once more.
UPDATE outbox o
SET done_at = now(), last_error = result.error
FROM UNNEST($1::bigint[], $2::integer[], $3::text[]) AS result (outbox_id, attempts, error)
WHERE o.outbox_id = result.outbox_id AND o.attempts = result.attempts AND o.done_at IS NULL
