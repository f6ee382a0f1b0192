-- What the record says of a sale's stock. An empty run_id: it is being loaded and must not be used yet.
SELECT s.state, s.final_at IS NOT NULL AS "final!", k.epoch AS "epoch?", k.run_id AS "run_id?", k.server AS "server?",
    k.rebuild_owner IS NOT NULL AS "rebuilding!"
FROM sales s
LEFT JOIN sale_stock k USING (sale_id)
WHERE s.sale_id = $1
