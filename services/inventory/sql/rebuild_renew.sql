-- $1 sale, $2 rebuilder, $3 lease in ms, $4 its epoch.
UPDATE sale_stock
SET rebuild_until = now() + $3 * interval '1 millisecond'
WHERE sale_id = $1 AND rebuild_owner = $2 AND epoch = $4
