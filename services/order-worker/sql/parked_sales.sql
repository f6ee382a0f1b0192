-- Sales with parked orders that can be looked at, each with its longest due one: at most $2, without those in $1. A sale whose current marker is
-- still ahead of the claims has nothing to wait for.
SELECT p.sale_id AS "sale_id!", k.epoch > COALESCE(f.epoch, 0) AS "marker_ahead!", f.epoch AS "passed?"
FROM (SELECT sale_id, min(due_at) AS due_at FROM parked_orders GROUP BY sale_id) p
JOIN sale_stock k ON k.sale_id = p.sale_id
LEFT JOIN stock_fences f ON f.sale_id = p.sale_id
WHERE p.sale_id <> ALL ($1::uuid[]) AND (p.due_at <= now() OR k.epoch > COALESCE(f.epoch, 0))
ORDER BY k.epoch > COALESCE(f.epoch, 0) DESC, p.due_at
LIMIT $2
