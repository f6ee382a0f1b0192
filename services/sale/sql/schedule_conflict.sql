-- A sku of the sale $1 that another sale offers at the same time, from now on, the last holds of both included: one that is planned or may be
-- sold from, or one that has ended, up to when it did if its stock knows. A hold lasts as long as the sale said when it was taken, so the
-- longest it ever said counts. A sale that may share its skus is not asked. What would be later than times can be is the last of them.
WITH others AS (
    SELECT o.sale_id, o.starts_at,
        CASE WHEN o.state = 'ENDED' AND o.propagated_version >= o.version THEN LEAST(o.ends_at, o.updated_at) ELSE o.ends_at END
            + GREATEST(o.hold_ms, (SELECT max((c.after ->> 'hold_ms')::bigint) FROM sale_changes c WHERE c.sale_id = o.sale_id))
                * interval '1 millisecond' AS until
    FROM sales o
    WHERE o.state IN ('SCHEDULED', 'PREPARED', 'OPEN', 'PAUSED')
        OR (o.state = 'ENDED' AND EXISTS (SELECT FROM sale_stock k WHERE k.sale_id = o.sale_id))
)
SELECT mine.sku, o.sale_id, o.starts_at, LEAST(o.until, '9999-12-31 00:00:00+00'::timestamptz) AS "until!"
FROM sales s
JOIN others o ON o.sale_id <> s.sale_id AND o.until > GREATEST(s.starts_at, now())
    AND o.starts_at < s.ends_at + s.hold_ms * interval '1 millisecond'
JOIN sale_items mine ON mine.sale_id = s.sale_id
JOIN sale_items theirs ON theirs.sale_id = o.sale_id AND theirs.sku = mine.sku
WHERE s.sale_id = $1
ORDER BY o.starts_at, o.sale_id, mine.sku COLLATE "C"
LIMIT 1
