SELECT epoch, run_id, server, opened_on, coalesce(rebuild_until >= now(), false) AS "leased!" FROM sale_stock WHERE sale_id = $1 FOR UPDATE
