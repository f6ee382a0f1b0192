-- A page of a sale's recorded orders, newest first, from behind ($2, $3). $4 how many at most. A dead letter's units are not claimed: they are
-- taken again if it ever is.
SELECT
    o.order_id, o.buyer_id, o.hold_id, o.admission_id, o.request_id, o.request_hash, o.state, o.placed_at,
    l.skus AS "skus!", l.quantities AS "quantities!", l.prices AS "prices!", l.revisions AS "revisions!"
FROM orders AS o
CROSS JOIN LATERAL (
    SELECT
        coalesce(array_agg(sku ORDER BY sku), '{}') AS skus,
        coalesce(array_agg(quantity ORDER BY sku), '{}') AS quantities,
        coalesce(array_agg(unit_price_minor ORDER BY sku), '{}') AS prices,
        coalesce(array_agg(price_revision ORDER BY sku), '{}') AS revisions
    FROM order_lines
    WHERE order_lines.order_id = o.order_id
) AS l
WHERE o.sale_id = $1 AND o.state <> 'DEAD_LETTER' AND ($2::timestamptz IS NULL OR (o.placed_at, o.order_id) < ($2, $3::uuid))
ORDER BY o.placed_at DESC, o.order_id DESC
LIMIT $4
