-- The buckets as they stand now; one that was never asked is full. $1 endpoints, $2 the calls per second that the configuration allows at each,
-- $3 a bucket's size in seconds of its rate.
SELECT asked.endpoint AS "endpoint!", asked.configured AS "configured!", b.set_rate AS "set_rate?", paced.rate AS "rate!",
    LEAST(
        GREATEST(1, paced.rate * $3::double precision),
        COALESCE(
            b.tokens + paced.rate * GREATEST(0, EXTRACT(EPOCH FROM clock_timestamp() - b.refilled_at)::double precision),
            GREATEST(1, paced.rate * $3::double precision)
        )
    ) AS "tokens!"
FROM unnest($1::text[], $2::double precision[]) WITH ORDINALITY AS asked (endpoint, configured, place)
LEFT JOIN provider_budgets b ON b.endpoint = asked.endpoint
CROSS JOIN LATERAL (SELECT COALESCE(b.set_rate, asked.configured) AS rate) AS allowed
CROSS JOIN LATERAL (
    SELECT LEAST(
        allowed.rate,
        COALESCE(b.rate + EXTRACT(EPOCH FROM clock_timestamp() - b.rate_at)::double precision, allowed.rate)
    ) AS rate
) AS paced
ORDER BY asked.place
