INSERT INTO stock_takeovers (request_id, server, retired, reason) VALUES ($1, $2, $3, $4) ON CONFLICT (request_id) DO NOTHING
