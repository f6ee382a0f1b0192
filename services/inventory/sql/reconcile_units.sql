-- What the record says of each sku's units, as of one instant. Added up from the orders themselves, beside the counter that a CHECK keeps
-- below the allotment.
SELECT COALESCE(a.sku, o.sku) AS "sku!", COALESCE(a.allotted, 0) AS "allotted!", COALESCE(a.claimed, 0) AS "claimed!",
    COALESCE(o.units, 0)::bigint AS "ordered!"
FROM (SELECT sku, allotted, claimed FROM allotments WHERE sale_id = $1) a
FULL JOIN (
    SELECT l.sku, sum(l.quantity) AS units
    FROM orders o
    JOIN order_lines l USING (order_id)
    WHERE o.sale_id = $1 AND o.state IN ('CLAIMED', 'PAYING', 'ACTION_REQUIRED', 'CONFIRMED', 'REFUNDED')
    GROUP BY l.sku
) o USING (sku)
