SELECT sale_id, version, propagated_version
FROM sales
WHERE sale_id = ANY($1::uuid[])
