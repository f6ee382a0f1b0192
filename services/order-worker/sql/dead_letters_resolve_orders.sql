UPDATE dead_letters
SET resolved_at = now(), resolution = $2
WHERE order_id = ANY ($1) AND resolved_at IS NULL
