-- What sale $1 has on sale against the file that it was imported from, with the regular prices of the revisions $2 in effect: of how many items
-- the file is known, of how many more units are on sale than it had, of how many the regular price is another one, and the first of either.
WITH compared AS (
    SELECT s.sku, COALESCE(a.allotted, i.quantity) > s.stock AS more,
        s.regular_minor IS NOT NULL
            AND CASE WHEN p.sku IS NULL THEN i.regular_minor ELSE p.regular_minor END IS DISTINCT FROM s.regular_minor AS other
    FROM sale_sources s
    JOIN sale_items i ON i.sale_id = s.sale_id AND i.sku = s.sku
    LEFT JOIN allotments a ON a.sale_id = s.sale_id AND a.sku = s.sku
    LEFT JOIN LATERAL (
        SELECT r.sku, r.regular_minor
        FROM sale_prices r
        WHERE r.sale_id = s.sale_id AND r.sku = s.sku AND r.revision = ANY($2::bigint[])
        ORDER BY r.revision DESC
        LIMIT 1
    ) p ON true
    WHERE s.sale_id = $1
)
SELECT count(*) AS "items!", count(*) FILTER (WHERE more) AS "more_units!", count(*) FILTER (WHERE other) AS "other_prices!",
    min(sku COLLATE "C") FILTER (WHERE more OR other) AS "first?"
FROM compared
