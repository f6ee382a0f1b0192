ALTER TABLE sales DROP COLUMN payment_patience_ms
