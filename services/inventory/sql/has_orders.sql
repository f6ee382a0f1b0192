SELECT EXISTS (SELECT FROM orders WHERE sale_id = $1) AS "exists!"
