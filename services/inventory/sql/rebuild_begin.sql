-- Hands out the next epoch to one rebuilder, for as long as its lease lasts. Nobody uses the epoch before its stock stands: run_id is empty.
-- $1 sale, $2 rebuilder, $3 lease in ms, $4 the epoch that was found closed.
UPDATE sale_stock
SET epoch = epoch + 1, run_id = '', loaded_at = now(),
    rebuild_owner = $2, rebuild_until = now() + $3 * interval '1 millisecond'
WHERE sale_id = $1 AND epoch = $4 AND (rebuild_until IS NULL OR rebuild_until < now())
RETURNING epoch
