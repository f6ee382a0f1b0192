-- Appends a decision about a pace. No row when a request of this id has made one meanwhile, about another bucket.
-- $1 caller, $2 endpoint, $3 calls per second, null for the configured ones, $4 why, $5 request id.
INSERT INTO budget_history (at, caller, endpoint, per_s, reason, request_id)
VALUES (clock_timestamp(), $1, $2, $3, $4, $5)
ON CONFLICT (request_id) DO NOTHING
RETURNING at, caller, endpoint, per_s, reason, request_id
