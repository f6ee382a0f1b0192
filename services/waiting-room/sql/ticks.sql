-- The latest ones, oldest first.
SELECT head AS "head!", passed_ms AS "passed_ms!", ttl_ms AS "ttl_ms!", paused_ms AS "paused_ms!"
FROM (SELECT * FROM room_ticks WHERE sale_id = $1 ORDER BY head DESC LIMIT $2) latest
ORDER BY head
