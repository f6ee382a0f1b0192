-- The last decisions about paces, newest first. $1 how many.
SELECT at, caller, endpoint, per_s, reason, request_id FROM budget_history ORDER BY id DESC LIMIT $1
