-- Orders by id, each with its lines, with what of its money is back, and with what its buyer has to do while the payment waits for them.
SELECT
    o.order_id, o.sale_id, o.buyer_id, o.hold_id, o.state, o.currency, o.total_minor, o.placed_at, o.updated_at,
    o.cancel_requested_at, o.end_reason, p.action AS "action?", p.client_secret AS "client_secret?",
    p.redirect_url AS "redirect_url?", p.turn_until AS "turn_until?", p.decline_code AS "decline_code?",
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
LEFT JOIN LATERAL (
    SELECT m.action, m.client_secret, m.redirect_url, m.turn_until, m.decline_code
    WHERE m.state = 'REQUIRES_ACTION' AND o.state = 'ACTION_REQUIRED'
) AS p ON true
WHERE o.order_id = ANY ($1)
