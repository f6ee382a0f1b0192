ALTER TABLE payments DROP COLUMN traceparent;
ALTER TABLE orders DROP COLUMN traceparent;
