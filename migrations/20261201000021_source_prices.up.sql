-- What the file of an imported sale said of prices, beside its stock; null where it said nothing, and of sales from before. Written by: sale,
-- with the sale; never changed.
ALTER TABLE sale_sources
    -- The price that the sale's own was made from.
    ADD COLUMN price_minor bigint,
    -- What a unit costs outside of any sale.
    ADD COLUMN regular_minor bigint;

-- How many skus a revision changes: its rows in sale_prices, which are too many to be counted whenever a sale is read. Written by: sale, with
-- the revision; never changed.
ALTER TABLE price_revisions ADD COLUMN skus bigint NOT NULL DEFAULT 0;
