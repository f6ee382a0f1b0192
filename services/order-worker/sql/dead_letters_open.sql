SELECT count(*) AS "waiting!", COALESCE(EXTRACT(EPOCH FROM now() - min(at)), 0)::double precision AS "oldest_s!"
FROM dead_letters
WHERE resolved_at IS NULL
