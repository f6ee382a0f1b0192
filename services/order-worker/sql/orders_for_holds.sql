SELECT order_id, sale_id, hold_id FROM orders WHERE order_id = ANY ($1)
