SELECT order_id FROM orders WHERE order_id = ANY ($1) AND state = 'CLAIMED' ORDER BY order_id FOR UPDATE
