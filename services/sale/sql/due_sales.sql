-- Sales that the clock of this store changes, and its present time: planned ones to be prepared, $1 ms before their start or earlier if buyers
-- may join earlier; prepared ones that have begun; any that are over. $2 how many at most.
SELECT sale_id, now() AS "now!"
FROM sales
WHERE state IN ('SCHEDULED', 'PREPARED', 'OPEN', 'PAUSED')
    AND (ends_at <= now()
        OR (state = 'PREPARED' AND starts_at <= now() AND NOT cancel_requested)
        OR (state = 'SCHEDULED'
            AND starts_at - GREATEST($1, COALESCE(room_pre_queue_ms, 0)) * interval '1 millisecond' <= now()))
ORDER BY starts_at, sale_id
LIMIT $2
