-- Sales that inventory and the waiting room do not know as they are (uses the index sales_to_propagate), and those that may be sold from and whose
-- next prices wait for the store of the stock to take them (uses the index price_revisions_waiting): each before them has switched. Behind the
-- sale $1 on.
SELECT t.sale_id AS "sale_id!", t.version AS "version!"
FROM (
    SELECT sale_id, version
    FROM sales
    WHERE propagated_version < version
    UNION
    SELECT s.sale_id, s.version
    FROM price_revisions r
    JOIN sales s ON s.sale_id = r.sale_id
    WHERE r.switches_at IS NULL AND r.replaced_by IS NULL AND s.may_sell
        AND NOT EXISTS (
            SELECT FROM price_revisions e
            WHERE e.sale_id = r.sale_id AND e.revision < r.revision AND e.replaced_by IS NULL AND (e.switches_at IS NULL OR e.switches_at > now())
        )
) t
WHERE t.sale_id > $1
ORDER BY t.sale_id
LIMIT $2
