-- Lets another rebuilder begin at once. $1 sale, $2 rebuilder, $3 its epoch.
UPDATE sale_stock
SET rebuild_until = now()
WHERE sale_id = $1 AND rebuild_owner = $2 AND epoch = $3
