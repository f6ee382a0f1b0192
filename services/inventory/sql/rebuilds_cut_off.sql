-- Rebuilds whose rebuilder did not live to end them.
SELECT sale_id
FROM sale_stock
JOIN sales USING (sale_id)
WHERE run_id = '' AND rebuild_owner IS NOT NULL AND rebuild_until < now() AND final_at IS NULL
LIMIT 100
