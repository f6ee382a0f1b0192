-- The placing of an order that waits for its units to be taken again.
SELECT message FROM parked_orders WHERE order_id = $1
