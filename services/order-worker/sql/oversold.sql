-- By the record: units of orders that hold units beyond what was allotted, per sale that sells or ended lately; 0 where all is well.
-- Added up from the orders themselves, not read from allotments.claimed, which a CHECK keeps below: this is what would notice that the
-- sums had gone apart. $1 how many sales at most, the latest first.
WITH watched AS (
    SELECT sale_id
    FROM sales
    WHERE may_sell OR (state = 'ENDED' AND updated_at > now() - interval '1 hour')
    ORDER BY starts_at DESC, sale_id
    LIMIT $1
), claimed AS (
    SELECT o.sale_id, l.sku, sum(l.quantity) AS units
    FROM watched
    JOIN orders o USING (sale_id)
    JOIN order_lines l USING (order_id)
    WHERE o.state IN ('CLAIMED', 'PAYING', 'ACTION_REQUIRED', 'CONFIRMED', 'REFUNDED')
    GROUP BY o.sale_id, l.sku
)
SELECT watched.sale_id,
    COALESCE(sum(GREATEST(claimed.units - COALESCE(a.allotted, 0), 0)), 0)::bigint AS "units!"
FROM watched
LEFT JOIN claimed USING (sale_id)
LEFT JOIN allotments a ON a.sale_id = claimed.sale_id AND a.sku = claimed.sku
GROUP BY watched.sale_id
