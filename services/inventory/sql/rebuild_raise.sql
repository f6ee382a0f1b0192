-- Hands out the next epoch to one rebuilder, for as long as its lease lasts, on the server that is to have its stock. The epoch is not served
-- before that stock stands: run_id is empty. $1 sale, $2 rebuilder, $3 lease in ms, $4 the server.
UPDATE sale_stock
SET epoch = epoch + 1, run_id = '', server = $4, loaded_at = now(),
    rebuild_owner = $2, rebuild_until = now() + $3 * interval '1 millisecond'
WHERE sale_id = $1
RETURNING epoch
