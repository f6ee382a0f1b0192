SELECT EXISTS (SELECT FROM orders WHERE order_id = $1) AS "exists!"
