-- Rebuilds whose rebuilder did not live to end them.
SELECT sale_id FROM sale_stock WHERE run_id = '' AND rebuild_owner IS NOT NULL AND rebuild_until < now() LIMIT 100
