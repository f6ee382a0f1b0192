-- Written by: order-worker. Accepted orders of an older epoch that wait until their units are taken anew.
CREATE TABLE parked_orders (
    order_id    uuid PRIMARY KEY,
    sale_id     uuid NOT NULL REFERENCES sales,
    seq         bigint NOT NULL,
    message     jsonb NOT NULL,
    traceparent text,
    parked_at   timestamptz NOT NULL DEFAULT now(),
    due_at      timestamptz NOT NULL DEFAULT now(),
    attempts    integer NOT NULL DEFAULT 0
);
CREATE INDEX parked_orders_by_sale ON parked_orders (sale_id, parked_at);
