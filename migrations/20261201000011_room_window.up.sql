-- When buyers may join a room, when its head moves, and when both are over; null is no bound. Judged by Redis' clock, in the scripts.
-- Written by: waiting-room.
ALTER TABLE rooms
    ADD COLUMN joins_from   timestamptz,
    ADD COLUMN admits_from  timestamptz,
    ADD COLUMN admits_until timestamptz,
    ADD CONSTRAINT window_in_order CHECK (
        joins_from <= admits_from AND joins_from < admits_until AND admits_from < admits_until
    )
