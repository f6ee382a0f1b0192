ALTER TABLE dead_letters DROP COLUMN order_id;
