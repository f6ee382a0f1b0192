INSERT INTO dead_letters (stream, stream_created, seq, payload, reason, order_id)
SELECT $1, $2, * FROM UNNEST($3::bigint[], $4::bytea[], $5::text[], $6::uuid[])
ON CONFLICT (stream, stream_created, seq) DO NOTHING
