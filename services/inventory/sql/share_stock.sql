-- Keeps the epoch from ending until the transaction does.
SELECT epoch, run_id FROM sale_stock WHERE sale_id = $1 FOR SHARE
