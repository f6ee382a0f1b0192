-- Servers that no stock stands on and that were not confirmed for a week.
DELETE FROM redis_servers r
WHERE r.seen_at < now() - interval '7 days' AND NOT EXISTS (SELECT FROM sale_stock k WHERE k.server = r.server)
