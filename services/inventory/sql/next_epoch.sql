UPDATE sale_stock SET epoch = epoch + 1, run_id = '', loaded_at = now() WHERE sale_id = $1 RETURNING epoch
