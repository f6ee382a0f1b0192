SELECT allotted FROM allotments WHERE sale_id = $1 AND sku = $2 FOR UPDATE
