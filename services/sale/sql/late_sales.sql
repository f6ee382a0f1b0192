-- Planned sales that should sell by now, and whose stock and room do not know it yet.
SELECT count(*) AS "late!"
FROM sales
WHERE starts_at <= now() AND (state = 'SCHEDULED' OR (may_sell AND propagated_version < version))
