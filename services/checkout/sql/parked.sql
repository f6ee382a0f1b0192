-- The placing of an order that waits for its units to be taken anew.
SELECT message FROM parked_orders WHERE order_id = $1
