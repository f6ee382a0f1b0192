-- What operators decided about the breaker, and why, and until when. The last row of the history says why, unless the version before has decided
-- since, which writes none.
SELECT f.force AS "force!", h.reason AS "reason?", h.expires_at AS "expires_at?", COALESCE(h.expires_at <= clock_timestamp(), false) AS "over!"
FROM breaker_force f
LEFT JOIN LATERAL (SELECT at, reason, expires_at FROM breaker_history ORDER BY id DESC LIMIT 1) h ON h.at = f.updated_at
