-- What waits, for the metrics: each part reads a partial index of what is open. $1 after how many failures in a row a payment is stuck.
SELECT
    open.count AS "open!",
    open.oldest_s AS "open_age_s!",
    open.stuck AS "stuck!",
    due.oldest_s AS "due_age_s!",
    refund.count AS "refunds!",
    refund.oldest_s AS "refund_age_s!",
    (SELECT count(*) FROM refunds WHERE state = 'FAILED') AS "refunds_failed!",
    (SELECT differences FROM provider_comparison) AS "differences!",
    -- As in read_force.sql.
    (
        SELECT CASE WHEN h.expires_at <= clock_timestamp() THEN 'AUTO' ELSE f.force END
        FROM breaker_force f
        LEFT JOIN LATERAL (SELECT at, expires_at FROM breaker_history ORDER BY id DESC LIMIT 1) h ON h.at = f.updated_at
    ) AS "force!"
FROM (
    SELECT count(*), count(*) FILTER (WHERE failures >= $1) AS stuck,
        COALESCE(EXTRACT(EPOCH FROM now() - min(created_at)), 0)::double precision AS oldest_s
    FROM payments
    WHERE state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
) AS open, (
    SELECT COALESCE(EXTRACT(EPOCH FROM now() - min(due_at)), 0)::double precision AS oldest_s
    FROM payments
    WHERE state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION') AND due_at <= now()
) AS due, (
    SELECT count(*), COALESCE(EXTRACT(EPOCH FROM now() - min(created_at)), 0)::double precision AS oldest_s
    FROM refunds
    WHERE state IN ('DUE', 'PENDING')
) AS refund
