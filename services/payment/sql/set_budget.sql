-- Sets the pace at an endpoint in place of the configured one. A debt made at a faster pace is forgiven where it would keep every call waiting
-- for longer than any may. $1 endpoint, $2 calls per second, null for the configured ones, $3 the longest wait in seconds.
UPDATE provider_budgets
SET set_rate = $2, tokens = GREATEST(tokens, -($2::double precision * $3::double precision))
WHERE endpoint = $1
