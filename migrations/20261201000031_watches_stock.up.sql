-- Whether the head of a room stands still while inventory or checkout says no or nothing. False is for rooms in front of what is not sold
-- here. A constant default: no row is rewritten, and an instance that does not know the column inserts rooms that watch.
-- Written by: waiting-room.
ALTER TABLE rooms
    ADD COLUMN watches_stock boolean NOT NULL DEFAULT true
