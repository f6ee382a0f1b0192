DROP FUNCTION price_revisions_in_effect;
ALTER TABLE order_lines DROP COLUMN price_revision;
DROP TABLE sale_prices;
DROP TABLE price_revisions;
ALTER TABLE sale_items DROP COLUMN regular_minor;
