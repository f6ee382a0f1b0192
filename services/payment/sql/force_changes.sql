-- The last decisions about the breaker, newest first. $1 how many.
SELECT at, caller, force, reason, expires_at, request_id FROM breaker_history ORDER BY id DESC LIMIT $1
