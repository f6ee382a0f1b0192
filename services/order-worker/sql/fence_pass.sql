-- A message that comes again, or one that was overtaken, changes nothing.
INSERT INTO stock_fences AS f (sale_id, epoch)
VALUES ($1, $2)
ON CONFLICT (sale_id) DO UPDATE SET epoch = excluded.epoch, passed_at = now()
WHERE f.epoch < excluded.epoch
