-- Whether anything was ordered; an order that is parked has no row of its own yet.
SELECT EXISTS (SELECT FROM orders WHERE sale_id = $1) OR EXISTS (SELECT FROM parked_orders WHERE sale_id = $1) AS "exists!"
