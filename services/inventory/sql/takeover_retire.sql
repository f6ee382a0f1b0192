-- Retires the servers in $2 for 30 s that the epochs of unfinished sales stand on, and has $1 confirmed again if it was retired.
WITH own AS (
    UPDATE redis_servers SET retired_at = NULL WHERE server = ANY ($1::text[]) AND retired_at IS NOT NULL
), others AS (
    SELECT server FROM redis_servers WHERE server = ANY ($2::text[]) ORDER BY server FOR UPDATE
)
UPDATE redis_servers SET retired_at = clock_timestamp()
FROM others
WHERE redis_servers.server = others.server
RETURNING redis_servers.server
