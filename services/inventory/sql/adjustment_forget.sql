-- A withdrawal that one alone began and that the store did nothing about.
DELETE FROM stock_adjustments WHERE request_id = $1 AND state = 'STARTED' AND attempts = 1 AND delta < 0
