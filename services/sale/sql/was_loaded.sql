SELECT EXISTS (SELECT FROM sale_stock WHERE sale_id = $1) AS "loaded!"
