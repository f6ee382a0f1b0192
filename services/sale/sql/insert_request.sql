-- What a request id did. Waits for another transaction that is just recording the same id; touches no row if it is taken.
INSERT INTO sale_requests (request_id, content_hash, sale_id)
VALUES ($1, $2, $3)
ON CONFLICT (request_id) DO NOTHING
