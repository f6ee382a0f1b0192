-- Compare-and-set: the first resolution of a dead letter stays.
UPDATE dead_letters
SET resolved_at = now(), resolution = $2
WHERE dead_letter_id = ANY ($1) AND resolved_at IS NULL
