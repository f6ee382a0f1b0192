-- A sku of the sale $1 that another sale offers at the same time, the last holds of both included: one that is planned or may be sold from,
-- or one that has ended, up to when it did. A sale that may share its skus is not asked.
WITH others AS (
    SELECT o.sale_id, o.starts_at,
        CASE WHEN o.state = 'ENDED' THEN LEAST(o.ends_at, o.updated_at) ELSE o.ends_at END + o.hold_ms * interval '1 millisecond' AS until
    FROM sales o
    WHERE o.may_sell OR o.state = 'SCHEDULED'
        OR (o.state = 'ENDED' AND EXISTS (SELECT FROM sale_stock k WHERE k.sale_id = o.sale_id))
)
SELECT mine.sku, o.sale_id, o.starts_at, o.until AS "until!"
FROM sales s
JOIN others o ON o.sale_id <> s.sale_id AND o.until > s.starts_at AND o.starts_at < s.ends_at + s.hold_ms * interval '1 millisecond'
JOIN sale_items mine ON mine.sale_id = s.sale_id
JOIN sale_items theirs ON theirs.sale_id = o.sale_id AND theirs.sku = mine.sku
WHERE s.sale_id = $1
ORDER BY o.starts_at, o.sale_id, mine.sku COLLATE "C"
LIMIT 1
