-- Takes one token from the bucket of all calls and one from the endpoint's, on credit where one is empty: the debts say how long to wait for
-- one's turn. No rows, and nothing taken, when a debt would be too deep, or a bucket does not exist. What operators have set for a bucket counts
-- in place of the configuration. $1 endpoint, $2 all calls per second, $3 the endpoint's calls per second, both by the configuration, $4 a
-- bucket's size in seconds of its rate, $5 the longest wait in seconds.
-- clock_timestamp(), because the statement may have waited for the rows since now().
WITH asked (endpoint, configured) AS (
    VALUES ('all', $2::double precision), ($1::text, $3::double precision)
), held AS (
    SELECT b.endpoint, b.tokens, b.refilled_at, b.rate, b.rate_at, COALESCE(b.set_rate, a.configured) AS configured
    FROM provider_budgets b
    JOIN asked a USING (endpoint)
    ORDER BY b.endpoint
    FOR UPDATE OF b
), paced AS (
    SELECT endpoint, tokens,
        GREATEST(0, EXTRACT(EPOCH FROM clock_timestamp() - refilled_at)::double precision) AS since_s,
        LEAST(configured, COALESCE(rate + EXTRACT(EPOCH FROM clock_timestamp() - rate_at)::double precision, configured)) AS rate
    FROM held
), taken AS (
    SELECT endpoint, rate, LEAST(GREATEST(1, rate * $4::double precision), tokens + rate * since_s) - 1 AS tokens
    FROM paced
)
UPDATE provider_budgets b
SET tokens = t.tokens, refilled_at = GREATEST(b.refilled_at, clock_timestamp())
FROM taken t
WHERE b.endpoint = t.endpoint
    AND (SELECT count(*) = 2 AND bool_and(tokens + rate * $5::double precision >= 0) FROM taken)
RETURNING t.tokens AS "tokens!", t.rate AS "rate!"
