-- Locking a row (SELECT … FOR UPDATE or FOR SHARE) needs the right to update a column of it. inventory locks rows of sales, and order-worker and
-- sale lock rows of sale_stock, which they do not write: this column is theirs, in which nothing can be written but what stands there.
ALTER TABLE sales ADD COLUMN row_lock boolean NOT NULL DEFAULT true CHECK (row_lock);
ALTER TABLE sale_stock ADD COLUMN row_lock boolean NOT NULL DEFAULT true CHECK (row_lock);
