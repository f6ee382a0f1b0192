-- What the sale offers at the prices that are in effect, with what is allotted now, which adjustments have changed since it began. OFFSET 0
-- keeps this a look-up by both columns of the key for each item: as a plain join, while the planner has not heard of a sale's items yet, it
-- compares each with all.
WITH in_effect AS MATERIALIZED (
    SELECT revision FROM price_revisions_in_effect($1) AS revision
)
SELECT i.sku, COALESCE(p.price_minor, i.price_minor) AS "price_minor!", a.allotted AS "quantity!",
    COALESCE(p.per_buyer_limit, i.per_buyer_limit) AS "per_buyer_limit!",
    CASE WHEN p.revision IS NULL THEN i.regular_minor ELSE p.regular_minor END AS "regular_minor?", COALESCE(p.revision, 1) AS "price_revision!"
FROM sale_items i
CROSS JOIN LATERAL (
    SELECT allotted FROM allotments WHERE allotments.sale_id = i.sale_id AND allotments.sku = i.sku OFFSET 0
) a
LEFT JOIN LATERAL (
    SELECT s.revision, s.price_minor, s.regular_minor, s.per_buyer_limit
    FROM sale_prices s
    WHERE s.sale_id = i.sale_id AND s.sku = i.sku AND s.revision IN (SELECT revision FROM in_effect)
    ORDER BY s.revision DESC
    LIMIT 1
) p ON true
WHERE i.sale_id = $1
ORDER BY i.sku
