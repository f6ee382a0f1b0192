-- Sales that should sell by now, and whose stock and room do not know it yet; and those that may sell and should have changed their prices by now,
-- whose stock is not known to have the change (uses the index price_revisions_waiting). One that a later change has passed by matters no more.
SELECT count(*) AS "late!"
FROM (
    SELECT sale_id
    FROM sales
    WHERE state IN ('SCHEDULED', 'PREPARED', 'OPEN', 'PAUSED') AND starts_at <= now() AND (state = 'SCHEDULED' OR propagated_version < version)
    UNION
    SELECT r.sale_id
    FROM price_revisions r
    JOIN sales s ON s.sale_id = r.sale_id
    WHERE r.switches_at IS NULL AND r.replaced_by IS NULL AND r.effective_at <= now() AND s.may_sell
        AND NOT EXISTS (SELECT FROM price_revisions l WHERE l.sale_id = r.sale_id AND l.revision > r.revision AND l.switches_at <= now())
) late
