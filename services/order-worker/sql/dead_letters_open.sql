SELECT count(*) AS "waiting!", EXTRACT(EPOCH FROM min(review_by) - now())::double precision AS "left_s?"
FROM dead_letters
WHERE resolved_at IS NULL
