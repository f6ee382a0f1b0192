-- Whether a revision of the prices of sale $1 waits that the store of the stock can take: each before it has switched. As in sales_to_tell.sql.
SELECT EXISTS (
    SELECT FROM price_revisions r
    WHERE r.sale_id = $1 AND r.switches_at IS NULL AND r.replaced_by IS NULL
        AND NOT EXISTS (
            SELECT FROM price_revisions e
            WHERE e.sale_id = r.sale_id AND e.revision < r.revision AND e.replaced_by IS NULL AND (e.switches_at IS NULL OR e.switches_at > now())
        )
) AS "waits!"
