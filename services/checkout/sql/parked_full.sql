-- The sales that have at least $1 parked orders, those with the most first.
SELECT sale_id, count(*) AS "parked!"
FROM parked_orders
GROUP BY sale_id
HAVING count(*) >= $1
ORDER BY count(*) DESC, sale_id
LIMIT 1000
