DROP INDEX orders_by_change;
ALTER TABLE orders ALTER COLUMN updated_at SET DEFAULT now();
DROP FUNCTION order_change_time();
