SELECT order_id, sale_id, currency, total_minor, payment_method FROM orders WHERE order_id = ANY ($1)
