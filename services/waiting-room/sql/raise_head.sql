-- A compare-and-set on the era: the head of an era that is over stands still. In one statement, so that no head stands without its tick:
-- $3 the head, and of its tick $4 when it was planned, by Redis' clock, $5 how long its admissions live, $6 how long the room has been
-- paused so far. A head that was raised without a tick, by the version before, gets one that is over.
WITH raised AS (
    UPDATE rooms SET head = $3 WHERE sale_id = $1 AND era = $2 AND head < $3 RETURNING head
), ticks AS (
    INSERT INTO room_ticks (sale_id, head, passed_ms, ttl_ms, paused_ms)
    SELECT $1::uuid, head, $4::bigint, $5::bigint, $6::bigint FROM raised
    UNION ALL
    SELECT $1, before.head, 0, 0, 0 FROM rooms before, raised WHERE before.sale_id = $1 AND before.head > 0
    ON CONFLICT (sale_id, head) DO NOTHING
), pruned AS (
    -- The oldest tick tells nothing once the one after it is over.
    DELETE FROM room_ticks t
    USING (
        SELECT head, lead(passed_ms + ttl_ms - paused_ms) OVER (ORDER BY head) AS next_ends_ms
        FROM (SELECT * FROM room_ticks WHERE sale_id = $1 ORDER BY head LIMIT 3) oldest
    ) o
    WHERE t.sale_id = $1 AND t.head = o.head AND o.next_ends_ms + $6 + 1000 < $4
)
SELECT COALESCE(
    (SELECT head FROM raised),
    (SELECT head FROM rooms WHERE sale_id = $1 AND era = $2)
) AS head
