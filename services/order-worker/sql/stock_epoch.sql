SELECT epoch FROM sale_stock WHERE sale_id = $1
