-- A row to lock for a server that was never confirmed.
INSERT INTO redis_servers (server, beats) VALUES ($1, 0) ON CONFLICT (server) DO NOTHING
