UPDATE sale_stock SET epoch = epoch + 1, run_id = '', server = $2, loaded_at = now() WHERE sale_id = $1 RETURNING epoch
