-- The lines of a page of orders, newest first, from behind ($2, $3) on; both null: from the newest. An order without lines has one row.
WITH page AS (
    SELECT order_id, buyer_id, state, currency, end_reason, placed_at, updated_at
    FROM orders
    WHERE sale_id = $1 AND ($2::timestamptz IS NULL OR (placed_at, order_id) < ($2, $3::uuid))
    ORDER BY placed_at DESC, order_id DESC
    LIMIT $4
)
SELECT p.order_id AS "order_id!", p.buyer_id AS "buyer_id!", p.state AS "state!", p.currency AS "currency!", p.end_reason AS "end_reason?",
    p.placed_at AS "placed_at!", p.updated_at AS "updated_at!", l.sku AS "sku?", l.quantity AS "quantity?",
    l.unit_price_minor AS "unit_price_minor?"
FROM page p
LEFT JOIN order_lines l USING (order_id)
ORDER BY p.placed_at DESC, p.order_id DESC, l.sku COLLATE "C"
