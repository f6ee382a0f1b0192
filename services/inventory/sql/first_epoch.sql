INSERT INTO sale_stock (sale_id, epoch, run_id) VALUES ($1, 1, '') ON CONFLICT (sale_id) DO NOTHING RETURNING epoch
