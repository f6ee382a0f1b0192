-- From here on the epoch may be used. Only the loader of the latest epoch gets here, with the server that it was raised on.
UPDATE sale_stock SET run_id = server, opened_on = server, loaded_at = now()
WHERE sale_id = $1 AND epoch = $2 AND server = $3 AND run_id IN ('', server)
