-- A page of a sale's history, newest first, from before version $2 on; null: from the newest.
SELECT version, at, kind, actor, request_id, reason, before::text, after::text AS "after!", skus, skus_changed
FROM sale_changes
WHERE sale_id = $1 AND ($2::bigint IS NULL OR version < $2)
ORDER BY version DESC
LIMIT $3
