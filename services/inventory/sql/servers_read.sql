-- The servers that the epochs of unfinished sales stand on, and those of $1. What was never confirmed has no beats.
SELECT server AS "server!", coalesce(r.beats, 0) AS "beats!", coalesce(r.retired_at >= clock_timestamp() - interval '30 seconds', false) AS "retired!"
FROM (
    SELECT k.server
    FROM sale_stock k
    JOIN sales s USING (sale_id)
    WHERE k.server <> '' AND s.final_at IS NULL
    UNION
    SELECT unnest($1::text[])
) recorded
LEFT JOIN redis_servers r USING (server)
