-- What mails say. $1 orders, $2 for each the refund that its mail is about, or null.
SELECT
    o.order_id, o.sale_id, o.state AS "state: OrderState", o.email, o.contact_name, o.currency, o.total_minor, o.end_reason, o.placed_at,
    o.locale, s.name AS sale_name, mail.refund_id AS "refund_id?", r.state AS "refund_state?", r.amount_minor AS "refund_minor?"
FROM UNNEST($1::uuid[], $2::uuid[]) AS mail (order_id, refund_id)
JOIN orders o ON o.order_id = mail.order_id
JOIN sales s ON s.sale_id = o.sale_id
LEFT JOIN refunds r ON r.refund_id = mail.refund_id AND r.order_id = o.order_id
