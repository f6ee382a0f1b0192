SELECT content_hash, sale_id
FROM sale_requests
WHERE request_id = $1
