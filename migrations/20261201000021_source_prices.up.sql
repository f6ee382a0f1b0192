-- What the file of an imported sale said of prices, beside its stock; null where it said nothing, and of sales from before. Written by: sale,
-- with the sale; never changed.
ALTER TABLE sale_sources
    -- The price that the sale's own was made from.
    ADD COLUMN price_minor bigint,
    -- What a unit costs outside of any sale.
    ADD COLUMN regular_minor bigint;
