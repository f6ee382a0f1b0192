-- The row is locked to claim an order of an older epoch, to adjust the stock and to rebuild it.
SELECT epoch FROM sale_stock WHERE sale_id = $1 FOR NO KEY UPDATE
