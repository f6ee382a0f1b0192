DROP TABLE room_ticks;

ALTER TABLE rooms
    DROP COLUMN era,
    DROP COLUMN server,
    DROP COLUMN paused_ms,
    DROP COLUMN paused_at
