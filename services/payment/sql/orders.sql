-- What orders cost, by the record, and which of them have a payment: in one statement, because an order that has ended by its payment
-- must not be seen without it. Nothing is locked: an order that waits for its payment changes only after that has. $1 order ids.
SELECT o.order_id, o.sale_id, o.state AS "state: OrderState", o.currency, o.total_minor, o.payment_method,
    (SELECT s.payment_patience_ms FROM sales s WHERE s.sale_id = o.sale_id) AS patience_ms,
    EXISTS (SELECT FROM payments p WHERE p.order_id = o.order_id) AS "has_payment!"
FROM orders o
WHERE o.order_id = ANY ($1)
