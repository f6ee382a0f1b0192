UPDATE allotments SET allotted = allotted + $3 WHERE sale_id = $1 AND sku = $2
