-- From here on the epoch may be used. $1 sale, $2 rebuilder, $3 the server that has the stock, $4 its epoch.
UPDATE sale_stock
SET run_id = server, opened_on = server, loaded_at = now(), rebuild_owner = NULL, rebuild_until = NULL
WHERE sale_id = $1 AND rebuild_owner = $2 AND epoch = $4 AND server = $3
