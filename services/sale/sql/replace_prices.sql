-- Revision $3 takes the place of the revisions $2 of the prices of sale $1. Whether the store of the stock had switched to one of them by then is
-- for that store to say: it does when it is told of this.
UPDATE price_revisions
SET replaced_by = $3, switches_at = CASE WHEN switches_at <= now() THEN switches_at END
WHERE sale_id = $1 AND revision = ANY($2::bigint[])
