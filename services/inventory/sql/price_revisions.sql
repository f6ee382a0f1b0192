-- The revisions of a sale's prices after the first, by number.
SELECT r.revision, r.effective_at, r.switches_at, r.replaced_by IS NOT NULL AS "replaced!", e.revision IS NOT NULL AS "in_effect!"
FROM price_revisions r
LEFT JOIN price_revisions_in_effect($1) AS e (revision) ON e.revision = r.revision
WHERE r.sale_id = $1
ORDER BY r.revision
