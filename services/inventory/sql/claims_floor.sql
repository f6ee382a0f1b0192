-- How far into the stream the claims have come.
SELECT stream_created, seq FROM queue_positions WHERE stream = $1
