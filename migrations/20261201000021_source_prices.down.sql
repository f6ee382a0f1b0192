ALTER TABLE sale_sources DROP COLUMN regular_minor, DROP COLUMN price_minor;
