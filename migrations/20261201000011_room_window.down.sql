ALTER TABLE rooms
    DROP COLUMN joins_from,
    DROP COLUMN admits_from,
    DROP COLUMN admits_until
