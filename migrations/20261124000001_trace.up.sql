-- The trace an order came from, as a W3C traceparent: what is carried out from a row, minutes later and by another process, goes on in it.
-- Null: nothing traced, or the row is older than this. Only for looking at; nothing decides by it.
ALTER TABLE orders ADD COLUMN traceparent text;
ALTER TABLE payments ADD COLUMN traceparent text;
