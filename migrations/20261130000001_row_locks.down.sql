ALTER TABLE sale_stock DROP COLUMN row_lock;
ALTER TABLE sales DROP COLUMN row_lock;
