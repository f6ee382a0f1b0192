-- What these skus cost in these revisions of their prices, and until when an order at such a price may have been placed: as long after a later
-- revision has changed the sku as a hold may have lived, three lengths of the longest that the sale ever gave, and a minute for clocks that
-- differ. A revision that was replaced before it took effect changes nothing. No row is ever deleted, so that each price is found.
WITH priced AS MATERIALIZED (
    SELECT asked.sale_id, asked.sku, asked.revision,
        CASE asked.revision
            WHEN 1 THEN (SELECT i.price_minor FROM sale_items i WHERE i.sale_id = asked.sale_id AND i.sku = asked.sku)
            ELSE (
                SELECT p.price_minor
                FROM sale_prices p
                WHERE p.sale_id = asked.sale_id AND p.sku = asked.sku AND p.revision = asked.revision
            )
        END AS price_minor,
        (
            SELECT min(r.switches_at)
            FROM sale_prices p
            JOIN price_revisions r ON r.sale_id = p.sale_id AND r.revision = p.revision
            WHERE p.sale_id = asked.sale_id AND p.sku = asked.sku AND p.revision > asked.revision AND r.replaced_by IS NULL
        ) AS replaced_at
    FROM UNNEST($1::uuid[], $2::text[], $3::bigint[]) AS asked (sale_id, sku, revision)
), longest AS MATERIALIZED (
    -- Of sales with a replaced price alone: their histories are read whole.
    SELECT s.sale_id,
        -- The first length of a sale from before there was a history stands before its first change.
        GREATEST(s.hold_ms, (
            SELECT max(GREATEST((c.before ->> 'hold_ms')::bigint, (c.after ->> 'hold_ms')::bigint)) FROM sale_changes c WHERE c.sale_id = s.sale_id
        )) AS hold_ms
    FROM sales s
    WHERE s.sale_id IN (SELECT sale_id FROM priced WHERE replaced_at IS NOT NULL)
)
SELECT p.sale_id AS "sale_id!", p.sku AS "sku!", p.revision AS "revision!", p.price_minor AS "price_minor!",
    p.replaced_at + 3 * l.hold_ms * interval '1 millisecond' + interval '1 minute' AS "placed_until?"
FROM priced p
LEFT JOIN longest l ON l.sale_id = p.sale_id
WHERE p.price_minor IS NOT NULL
