ALTER TABLE sale_stock
    DROP COLUMN rebuild_owner,
    DROP COLUMN rebuild_until;
