-- Only as long as nobody has taken the row since, or wants it carried out once more.
UPDATE outbox o
SET done_at = now(), last_error = result.error
FROM UNNEST($1::bigint[], $2::integer[], $3::text[]) AS result (outbox_id, attempts, error)
WHERE o.outbox_id = result.outbox_id AND o.attempts = result.attempts AND o.done_at IS NULL
