ALTER TABLE payments DROP COLUMN patience_ms
