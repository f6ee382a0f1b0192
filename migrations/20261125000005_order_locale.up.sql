-- The language to write to the buyer in, a BCP 47 tag; empty for the shop's own.
ALTER TABLE orders ADD COLUMN locale text NOT NULL DEFAULT '';
