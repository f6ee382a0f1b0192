-- Planned sales that should sell by now, and whose stock and room do not know it yet.
SELECT count(*) AS "late!"
FROM sales
WHERE state IN ('SCHEDULED', 'PREPARED', 'OPEN', 'PAUSED') AND starts_at <= now() AND (state = 'SCHEDULED' OR propagated_version < version)
