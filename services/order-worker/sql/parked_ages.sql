SELECT count(*) AS "parked!", COALESCE(EXTRACT(EPOCH FROM now() - min(parked_at)), 0)::double precision AS "oldest_s!"
FROM parked_orders
