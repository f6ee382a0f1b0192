-- Sales that open by themselves, and the history of every sale.

ALTER TABLE sales
    DROP CONSTRAINT sales_state_check,
    DROP CONSTRAINT sales_check2,
    ADD CONSTRAINT sales_final_check CHECK (final_at IS NULL OR state IN ('ENDED', 'CANCELLED')),
    ADD CONSTRAINT sales_state_check
        CHECK (state IN ('DRAFT', 'SCHEDULED', 'PREPARED', 'OPEN', 'PAUSED', 'ENDED', 'CANCELLED')),
    -- CancelSale was asked for, and the store of the stock has not decided it yet.
    ADD COLUMN cancel_requested boolean NOT NULL DEFAULT false,
    ADD COLUMN allow_shared_skus boolean NOT NULL DEFAULT false,
    -- How long before the start buyers may join the room; null counts as 0.
    ADD COLUMN room_pre_queue_ms bigint CHECK (room_pre_queue_ms >= 0),
    -- Its stock may be sold from, now or by the clock alone: flashsale_record's SaleState::may_sell.
    ADD COLUMN may_sell boolean NOT NULL GENERATED ALWAYS AS (state IN ('PREPARED', 'OPEN', 'PAUSED')) STORED;

CREATE INDEX sales_planned ON sales (starts_at) WHERE state IN ('SCHEDULED', 'PREPARED', 'OPEN', 'PAUSED');
CREATE INDEX sale_items_by_sku ON sale_items (sku);
CREATE INDEX sales_over ON sales (sale_id) WHERE state IN ('ENDED', 'CANCELLED') AND final_at IS NULL;
DROP INDEX sales_to_finalize;

-- Written by: sale. Each change of a sale, once; nothing changes a row. `before` and `after` are its row of `sales`.
CREATE TABLE sale_changes (
    sale_id      uuid NOT NULL REFERENCES sales,
    version      bigint NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    kind         text NOT NULL CHECK (kind IN ('CREATE', 'UPDATE', 'SCHEDULE', 'PREPARE', 'OPEN', 'PAUSE', 'CANCEL', 'END')),
    -- The caller's name; empty for what the clock did, as is the request then.
    actor        text NOT NULL,
    request_id   uuid,
    reason       text NOT NULL,
    before       jsonb,
    after        jsonb NOT NULL,
    -- The first skus whose item it changed, and how many there are.
    skus         text[] NOT NULL,
    skus_changed bigint NOT NULL,
    PRIMARY KEY (sale_id, version)
);
