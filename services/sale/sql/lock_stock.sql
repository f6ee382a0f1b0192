-- Whoever claims an order of an older epoch, adjusts the stock or rebuilds it has to have this row.
SELECT epoch FROM sale_stock WHERE sale_id = $1 FOR NO KEY UPDATE
