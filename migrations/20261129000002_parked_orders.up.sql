-- Written by: order-worker. Orders of an older epoch that came behind the marker of a rebuild: the rebuilt stock does not count their units. They
-- wait here, not in the way of any claim, until that stock has taken or refused them. Inserted in the transaction that moves the position past
-- their message, deleted in the one that gives the order its row. Rows of it are locked after those of allotments and before those of orders.
CREATE TABLE parked_orders (
    order_id    uuid PRIMARY KEY,
    sale_id     uuid NOT NULL REFERENCES sales,
    -- The sequence number of its message in ORDERS.
    seq         bigint NOT NULL,
    -- The body of that message.
    message     jsonb NOT NULL,
    traceparent text,
    parked_at   timestamptz NOT NULL DEFAULT now(),
    -- When it is looked at next; in the future also while somebody has taken it.
    due_at      timestamptz NOT NULL DEFAULT now(),
    -- How often it was taken.
    attempts    integer NOT NULL DEFAULT 0
);
CREATE INDEX parked_orders_by_sale ON parked_orders (sale_id, parked_at);
