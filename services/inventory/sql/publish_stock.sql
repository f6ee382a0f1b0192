-- From here on the epoch may be used. Only the loader of the latest epoch gets here.
UPDATE sale_stock SET run_id = $3, loaded_at = now() WHERE sale_id = $1 AND epoch = $2 AND run_id IN ('', $3)
