ALTER TABLE price_revisions DROP COLUMN skus;
ALTER TABLE sale_sources DROP COLUMN regular_minor, DROP COLUMN price_minor;
