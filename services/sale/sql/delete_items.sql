-- Of a sale that gets others.
DELETE FROM sale_items WHERE sale_id = $1
