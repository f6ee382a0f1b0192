-- Written by: inventory. Units added to a sale or withdrawn from it after it was loaded: the audit trail, and what a crash in the middle
-- of an adjustment is finished by. Rows of it are locked after those of sale_stock and allotments.
CREATE TABLE stock_adjustments (
    request_id      uuid PRIMARY KEY,
    sale_id         uuid NOT NULL REFERENCES sales,
    sku             text NOT NULL,
    delta           bigint NOT NULL CHECK (delta <> 0),
    reason          text NOT NULL,
    state           text NOT NULL CHECK (state IN ('STARTED', 'DONE', 'REFUSED')),
    -- Of an addition: the epoch whose stock does not carry it yet. allotted is raised in the transaction that writes the row.
    raised_epoch    bigint,
    -- Set together with the change of allotted.
    allotted_before bigint,
    allotted_after  bigint,
    -- Of a refused withdrawal: the units that were free.
    available       bigint,
    -- How many have set out to carry it through, and when the last one did.
    attempts        integer NOT NULL DEFAULT 1,
    touched_at      timestamptz NOT NULL DEFAULT now(),
    created_at      timestamptz NOT NULL DEFAULT now(),
    ended_at        timestamptz,
    CHECK ((delta > 0) = (raised_epoch IS NOT NULL)),
    CHECK ((state = 'STARTED') = (ended_at IS NULL)),
    CHECK ((state = 'REFUSED') = (available IS NOT NULL)),
    CHECK ((allotted_before IS NULL) = (allotted_after IS NULL)),
    CHECK (state <> 'DONE' OR allotted_after = allotted_before + delta)
);
CREATE INDEX stock_adjustments_by_sale ON stock_adjustments (sale_id, created_at DESC, request_id DESC);
CREATE INDEX stock_adjustments_started ON stock_adjustments (touched_at) WHERE state = 'STARTED';
