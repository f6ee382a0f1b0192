SELECT epoch, run_id FROM sale_stock WHERE sale_id = $1 FOR UPDATE
