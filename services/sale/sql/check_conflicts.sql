-- Sales that offer skus of sale $1 at a time when it may offer them, by their start: a sale needs its units until the last of its holds has run
-- out. What has passed does not count any more; a sale that has ended did so when it last changed. $2: the most rows.
WITH mine AS (
    SELECT greatest(starts_at, now()) AS opens, ends_at + hold_ms * interval '1 millisecond' AS closes
    FROM sales
    WHERE sale_id = $1
), others AS (
    -- As schedule_conflict.sql.
    SELECT o.sale_id, o.starts_at,
        CASE WHEN o.state = 'ENDED' AND o.propagated_version >= o.version THEN LEAST(o.ends_at, o.updated_at) ELSE o.ends_at END
            + GREATEST(o.hold_ms, (SELECT max((c.after ->> 'hold_ms')::bigint) FROM sale_changes c WHERE c.sale_id = o.sale_id))
                * interval '1 millisecond' AS closes
    FROM sales o
    WHERE o.sale_id <> $1 AND (o.state IN ('SCHEDULED', 'PREPARED', 'OPEN', 'PAUSED')
        OR (o.state = 'ENDED' AND EXISTS (SELECT FROM sale_stock k WHERE k.sale_id = o.sale_id)))
)
SELECT o.sale_id AS "sale_id!", min(theirs.sku) AS "sku!", count(*) AS "skus!", count(*) OVER () AS "sales!"
FROM mine m
JOIN others o ON o.starts_at < m.closes AND o.closes > m.opens
JOIN sale_items theirs ON theirs.sale_id = o.sale_id
JOIN sale_items ours ON ours.sale_id = $1 AND ours.sku = theirs.sku
GROUP BY o.sale_id, o.starts_at
ORDER BY o.starts_at, o.sale_id
LIMIT $2
