-- Takes one token from an endpoint's bucket, on credit if it is empty: the debt says how long to wait for one's turn. No row when the
-- debt would be too deep, or the bucket does not exist. $1 endpoint, $2 tokens per second, $3 the bucket's size, $4 the deepest debt.
-- clock_timestamp(), because the statement may have waited for the row since now().
UPDATE provider_budgets
SET tokens = LEAST(
        $3::double precision,
        tokens + $2::double precision
            * GREATEST(0, EXTRACT(EPOCH FROM clock_timestamp() - refilled_at)::double precision)
    ) - 1,
    refilled_at = GREATEST(refilled_at, clock_timestamp())
WHERE endpoint = $1
    AND LEAST(
        $3::double precision,
        tokens + $2::double precision
            * GREATEST(0, EXTRACT(EPOCH FROM clock_timestamp() - refilled_at)::double precision)
    ) - 1 + $4::double precision >= 0
RETURNING tokens
