-- The stocks the sweeper looks after: those of a sale that is final hold nothing any more. A hold outlives its sale by a few hold lengths at most; a week covers any outage in between.
SELECT k.sale_id, k.epoch
FROM sale_stock k
JOIN sales s USING (sale_id)
WHERE k.run_id <> '' AND s.final_at IS NULL AND s.ends_at > now() - interval '7 days'
