-- Skus of sale $1 that cost more in the sale than outside of it, in any revision of its prices that is not replaced: the first $2 of them, how
-- many they are, and whether the shop has given any regular price.
WITH prices AS (
    SELECT sku, price_minor, regular_minor
    FROM sale_items
    WHERE sale_id = $1
    UNION ALL
    SELECT p.sku, p.price_minor, p.regular_minor
    FROM sale_prices p
    JOIN price_revisions r ON r.sale_id = p.sale_id AND r.revision = p.revision
    WHERE p.sale_id = $1 AND r.replaced_by IS NULL
), above AS (
    SELECT DISTINCT sku FROM prices WHERE price_minor > regular_minor
)
SELECT EXISTS (SELECT FROM prices WHERE regular_minor IS NOT NULL) AS "given!", (SELECT count(*) FROM above) AS "above!",
    ARRAY(SELECT sku FROM above ORDER BY sku COLLATE "C" LIMIT $2) AS "first!"
