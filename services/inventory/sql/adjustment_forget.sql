-- A withdrawal that only one instance began and that changed nothing in Redis.
DELETE FROM stock_adjustments WHERE request_id = $1 AND state = 'STARTED' AND attempts = 1 AND delta < 0
