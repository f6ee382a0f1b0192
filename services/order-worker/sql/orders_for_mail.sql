SELECT o.order_id, o.sale_id, o.state AS "state: OrderState", o.email, o.contact_name, o.currency, o.total_minor, o.end_reason, o.placed_at, o.locale, s.name AS sale_name
FROM orders o
JOIN sales s ON s.sale_id = o.sale_id
WHERE o.order_id = ANY ($1)
