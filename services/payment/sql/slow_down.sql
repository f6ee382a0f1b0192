-- Halves the rate of a bucket that the provider has limited, once a second at most: calls that were under way together are limited together.
-- What operators have set for it counts in place of the configuration. $1 endpoint, $2 its calls per second by the configuration.
UPDATE provider_budgets
SET rate = GREATEST(
        1,
        LEAST(
            COALESCE(set_rate, $2::double precision),
            COALESCE(rate + EXTRACT(EPOCH FROM clock_timestamp() - rate_at)::double precision, set_rate, $2)
        ) / 2
    ),
    rate_at = clock_timestamp()
WHERE endpoint = $1 AND (rate_at IS NULL OR rate_at < clock_timestamp() - interval '1 second')
