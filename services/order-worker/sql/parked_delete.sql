DELETE FROM parked_orders WHERE order_id = ANY ($1)
