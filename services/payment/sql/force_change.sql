-- The decision about the breaker that a request made, if it made one. $1 request id.
SELECT at, caller, force, reason, expires_at, request_id FROM breaker_history WHERE request_id = $1
