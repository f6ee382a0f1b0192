-- The decision about a pace that a request made, if it made one. $1 request id.
SELECT at, caller, endpoint, per_s, reason, request_id FROM budget_history WHERE request_id = $1
