SELECT stream_created, seq FROM queue_positions WHERE stream = $1
