UPDATE dead_letters SET retry_at = now() WHERE dead_letter_id = $1 AND resolved_at IS NULL
