SELECT kind, count(*) AS "pending!", EXTRACT(EPOCH FROM now() - min(created_at))::double precision AS "oldest_s!"
FROM outbox
WHERE done_at IS NULL
GROUP BY kind
