-- From when on the store of the stock of sale $1 takes units at the revisions $2 of its prices: at $3. What has passed stays. One that was
-- replaced may have been withdrawn there since: it counts if the sale is as that store was told ($4), or its time has come. They take effect
-- in the order of their numbers: one before them of which nothing was heard did so with the next, at the latest.
WITH said AS (
    SELECT revision, at FROM unnest($2::bigint[], $3::timestamptz[]) AS said (revision, at)
)
UPDATE price_revisions r
SET switches_at = next.at
FROM price_revisions k
CROSS JOIN LATERAL (SELECT s.revision, s.at FROM said s WHERE s.revision >= k.revision ORDER BY s.revision LIMIT 1) next
WHERE k.sale_id = $1 AND r.sale_id = k.sale_id AND r.revision = k.revision AND (
    (next.revision = r.revision AND (r.switches_at IS NULL OR (r.switches_at > now() AND r.switches_at <> next.at))
        AND (r.replaced_by IS NULL OR $4::boolean OR next.at <= now()))
    OR (next.revision > r.revision AND r.switches_at IS NULL AND r.replaced_by IS NULL)
)
