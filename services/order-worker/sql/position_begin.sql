INSERT INTO queue_positions (stream, stream_created, seq) VALUES ($1, $2, 0) ON CONFLICT (stream) DO NOTHING
