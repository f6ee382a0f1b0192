-- The revisions of a sale's prices after the first, by number.
SELECT revision, effective_at, switches_at, replaced_by IS NOT NULL AS "replaced!"
FROM price_revisions
WHERE sale_id = $1
ORDER BY revision
