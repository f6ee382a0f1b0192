-- The revisions of the prices of sale $1 and whether each is in effect by the clock of this store. One that was replaced is only if the store of
-- the stock had switched to it by then.
SELECT revision, effective_at, switches_at, replaced_by, skus,
    (COALESCE(switches_at, CASE WHEN replaced_by IS NULL THEN effective_at END) <= now()) IS TRUE AS "in_effect!"
FROM price_revisions
WHERE sale_id = $1
ORDER BY revision
