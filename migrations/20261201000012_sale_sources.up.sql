-- Where the items of an imported sale stood in its file, so that what was sold of them can be written back in the shop's own terms.
-- Written by: sale, with the sale; never changed.
CREATE TABLE sale_sources (
    sale_id    uuid NOT NULL REFERENCES sales,
    sku        text NOT NULL,
    format     text NOT NULL CHECK (format IN ('shopify', 'woocommerce', 'bigcommerce', 'csv', 'json')),
    -- Of the file; in JSON the number of the item, from 1.
    line       bigint NOT NULL CHECK (line > 0),
    -- The columns by which the shop knows it, named as in the file, and their cells as they stood, byte for byte.
    source_key jsonb NOT NULL,
    -- The units that the file had of it alone; null where it said none, did not count it, or counted it for several together.
    stock      bigint,
    PRIMARY KEY (sale_id, sku)
);
