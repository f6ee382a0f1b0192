-- From when on the store of the stock of sale $1 takes units at the revisions $2 of its prices: at $3. What has passed stays. One that was
-- replaced may have been withdrawn there since: it counts if the sale is as that store was told ($4), or its time has come.
UPDATE price_revisions r
SET switches_at = said.at
FROM unnest($2::bigint[], $3::timestamptz[]) AS said (revision, at)
WHERE r.sale_id = $1 AND r.revision = said.revision AND (r.switches_at IS NULL OR (r.switches_at > now() AND r.switches_at <> said.at))
    AND (r.replaced_by IS NULL OR $4::boolean OR said.at <= now())
