ALTER TABLE rooms
    DROP COLUMN watches_stock
