-- The order that the message meant to place, if it could be read that far. Such an order is not published again: it waits for a person, and is
-- published again when its dead letters are deleted.
ALTER TABLE dead_letters ADD COLUMN order_id uuid;

CREATE INDEX dead_letters_by_order ON dead_letters (order_id) WHERE order_id IS NOT NULL;
