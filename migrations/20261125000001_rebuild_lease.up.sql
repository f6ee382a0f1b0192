-- Written by: inventory. Who rebuilds a sale's stock, and until when nobody else does; both null while nobody is at it. The epoch in the row is
-- then the one the stock is going to have, and run_id is empty.
ALTER TABLE sale_stock
    ADD COLUMN rebuild_owner uuid,
    ADD COLUMN rebuild_until timestamptz;
