SELECT order_id FROM parked_orders WHERE order_id = ANY ($1) ORDER BY order_id FOR UPDATE
