-- Compare-and-set: once, of a sale as it was read. $2: its version. What may have been written while inventory was asked is looked at again;
-- $3: as in report_totals.sql.
UPDATE sales s
SET final_at = now()
WHERE sale_id = $1 AND version = $2 AND state IN ('ENDED', 'CANCELLED') AND final_at IS NULL
    AND NOT EXISTS (
        SELECT FROM orders o WHERE o.sale_id = s.sale_id AND o.state IN ('CLAIMED', 'PAYING', 'ACTION_REQUIRED', 'DEAD_LETTER')
    )
    AND NOT EXISTS (SELECT FROM parked_orders p WHERE p.sale_id = s.sale_id)
    AND NOT EXISTS (SELECT FROM stock_adjustments a WHERE a.sale_id = s.sale_id AND a.state = 'STARTED')
    AND NOT EXISTS (
        SELECT FROM sale_stock k
        WHERE k.sale_id = s.sale_id AND k.epoch > 1 AND k.loaded_at > now() - $3 * interval '1 second'
    )
RETURNING final_at AS "final_at!"
