-- Written by: order-worker, in the claims' transaction. The latest rebuild of a sale's stock whose marker the claims have passed: every order
-- before the marker is in the record, and an order of an older epoch behind it is not counted in the rebuilt stock.
CREATE TABLE stock_fences (
    sale_id   uuid PRIMARY KEY REFERENCES sales,
    epoch     bigint NOT NULL CHECK (epoch > 0),
    passed_at timestamptz NOT NULL DEFAULT now()
);
