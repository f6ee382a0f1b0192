-- Keeps these sales' epochs, and whether their markers are passed, from changing until the transaction ends.
SELECT sale_id, epoch FROM sale_stock WHERE sale_id = ANY ($1) ORDER BY sale_id FOR UPDATE
