-- A page of a sale's orders, newest first; a null filter does not filter. What a buyer has to do is in no list.
SELECT
    o.order_id, o.sale_id, o.buyer_id, o.hold_id, o.state, o.currency, o.total_minor, o.placed_at, o.updated_at,
    o.cancel_requested_at, o.end_reason, NULL::text AS action, NULL::text AS client_secret, NULL::text AS redirect_url,
    NULL::timestamptz AS turn_until, NULL::text AS decline_code,
    coalesce(m.refunded_minor, 0) AS "refunded_minor!",
    l.skus AS "skus!", l.quantities AS "quantities!", l.prices AS "prices!",
    l.revisions AS "revisions!"
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
LEFT JOIN payments AS m ON m.order_id = o.order_id
WHERE o.sale_id = $1
    AND ($2::text IS NULL OR o.buyer_id = $2)
    AND ($3::text IS NULL OR o.state = $3)
    AND ($4::timestamptz IS NULL OR (o.placed_at, o.order_id) < ($4, $5::uuid))
ORDER BY o.placed_at DESC, o.order_id DESC
LIMIT $6
