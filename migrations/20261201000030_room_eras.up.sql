-- Which line counts once Redis was lost, or two servers keep the same room. Written by: waiting-room.
ALTER TABLE rooms
    -- How often the room was put in place again. Heads and blocks of numbers of an older era are refused.
    ADD COLUMN era       bigint NOT NULL DEFAULT 0 CHECK (era >= 0),
    -- Where that was, as redis_servers names it; empty for what was put in place before there was this column.
    ADD COLUMN server    text NOT NULL DEFAULT '',
    -- How long all pauses together were that are over.
    ADD COLUMN paused_ms bigint NOT NULL DEFAULT 0 CHECK (paused_ms >= 0),
    -- Since when the present pause lasts. Means nothing while the room is not paused.
    ADD COLUMN paused_at timestamptz;

-- Written by: waiting-room, in the statement that raises the head. When the head passed a number and how long the admissions live that
-- this gave out, so that a room that is put in place again gives none of them out a second time. Those that are over are deleted, but
-- for the latest of them, which says that everything before it is over too.
CREATE TABLE room_ticks (
    sale_id   uuid NOT NULL REFERENCES rooms,
    head      bigint NOT NULL CHECK (head > 0),
    -- By Redis' clock; 0 for a head that was raised before there was this table, whose admissions count as over.
    passed_ms bigint NOT NULL CHECK (passed_ms >= 0),
    ttl_ms    bigint NOT NULL CHECK (ttl_ms >= 0),
    -- How long the room had been paused by then. An admission ends ttl_ms after passed_ms, and as much later as the room was paused since.
    paused_ms bigint NOT NULL CHECK (paused_ms >= 0),
    PRIMARY KEY (sale_id, head)
)
