INSERT INTO sale_stock (sale_id, epoch, run_id, server) VALUES ($1, 1, '', $2) ON CONFLICT (sale_id) DO NOTHING RETURNING epoch
