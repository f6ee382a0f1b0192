-- Each table names the one service that writes it. Times are timestamptz; money is minor units (bigint) of an ISO 4217 currency.
-- Lock order for whoever locks more than one row: queue_positions (claims only), allotments by (sale_id, sku), orders by order_id, outbox.

-- Written by: sale.
CREATE TABLE sales (
    sale_id            uuid PRIMARY KEY,
    name               text NOT NULL,
    currency           text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    state              text NOT NULL CHECK (state IN ('DRAFT', 'SCHEDULED', 'OPEN', 'PAUSED', 'ENDED')),
    starts_at          timestamptz NOT NULL,
    ends_at            timestamptz NOT NULL CHECK (ends_at > starts_at),
    hold_ms            bigint NOT NULL CHECK (hold_ms > 0),
    -- Both null: the sale has no waiting room.
    room_rate          double precision CHECK (room_rate > 0),
    room_admission_ms  bigint CHECK (room_admission_ms > 0),
    -- Raised by every change; propagated_version is the last one that inventory and the waiting room were told.
    version            bigint NOT NULL DEFAULT 1,
    propagated_version bigint NOT NULL DEFAULT 0,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    CHECK ((room_rate IS NULL) = (room_admission_ms IS NULL))
);
CREATE INDEX sales_by_age ON sales (created_at DESC, sale_id DESC);
CREATE INDEX sales_to_propagate ON sales (sale_id) WHERE propagated_version < version;

-- Written by: sale. Never changes once the sale is started.
CREATE TABLE sale_items (
    sale_id         uuid NOT NULL REFERENCES sales,
    sku             text NOT NULL,
    title           text NOT NULL,
    price_minor     bigint NOT NULL CHECK (price_minor >= 0),
    quantity        bigint NOT NULL CHECK (quantity > 0),
    per_buyer_limit bigint NOT NULL DEFAULT 0 CHECK (per_buyer_limit >= 0),
    PRIMARY KEY (sale_id, sku)
);

-- Written by: sale. What each request id did, so that it is done once.
CREATE TABLE sale_requests (
    request_id   uuid PRIMARY KEY,
    content_hash text NOT NULL,
    sale_id      uuid NOT NULL REFERENCES sales,
    created_at   timestamptz NOT NULL DEFAULT now()
);

-- Written by: inventory. The epoch of a sale's stock and the Redis server it was loaded into.
CREATE TABLE sale_stock (
    sale_id   uuid PRIMARY KEY REFERENCES sales,
    epoch     bigint NOT NULL CHECK (epoch > 0),
    run_id    text NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now()
);

-- The record of truth for units. The one table with two writers, because the CHECK has to see both columns:
-- allotted is written by inventory, claimed by order-worker.
CREATE TABLE allotments (
    sale_id  uuid NOT NULL REFERENCES sales,
    sku      text NOT NULL,
    allotted bigint NOT NULL CHECK (allotted >= 0),
    claimed  bigint NOT NULL DEFAULT 0 CHECK (claimed >= 0),
    PRIMARY KEY (sale_id, sku),
    CONSTRAINT never_oversold CHECK (claimed <= allotted)
);

-- Written by: waiting-room. Ticket numbers are handed out below reserved_upto; the head is written here before it is published, so
-- that a lost Redis skips numbers but repeats none.
CREATE TABLE rooms (
    sale_id       uuid PRIMARY KEY,
    state         text NOT NULL CHECK (state IN ('CLOSED', 'OPEN', 'PAUSED')),
    rate          double precision NOT NULL CHECK (rate > 0),
    admission_ms  bigint NOT NULL CHECK (admission_ms > 0),
    reserved_upto bigint NOT NULL DEFAULT 0,
    head          bigint NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CHECK (head <= reserved_upto)
);

-- Written by: order-worker. A row exists from the claim on.
CREATE TABLE orders (
    order_id            uuid PRIMARY KEY,
    sale_id             uuid NOT NULL REFERENCES sales,
    buyer_id            text NOT NULL,
    hold_id             uuid NOT NULL,
    epoch               bigint NOT NULL,
    admission_id        text,
    request_id          uuid NOT NULL,
    request_hash        text NOT NULL,
    state               text NOT NULL CHECK (state IN
        ('CLAIMED', 'PAYING', 'ACTION_REQUIRED', 'CONFIRMED', 'DECLINED', 'CANCELLED', 'REFUNDED')),
    currency            text NOT NULL,
    total_minor         bigint NOT NULL CHECK (total_minor >= 0),
    email               text NOT NULL,
    contact_name        text NOT NULL,
    payment_method      text NOT NULL,
    cancel_requested_at timestamptz,
    end_reason          text,
    placed_at           timestamptz NOT NULL,
    claimed_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX orders_by_sale ON orders (sale_id, placed_at DESC, order_id DESC);
CREATE INDEX orders_by_buyer ON orders (sale_id, buyer_id, placed_at DESC, order_id DESC);
CREATE INDEX orders_open ON orders (order_id) WHERE state IN ('CLAIMED', 'PAYING', 'ACTION_REQUIRED');

-- Written by: order-worker.
CREATE TABLE order_lines (
    order_id         uuid NOT NULL REFERENCES orders,
    sku              text NOT NULL,
    quantity         bigint NOT NULL CHECK (quantity > 0),
    unit_price_minor bigint NOT NULL CHECK (unit_price_minor >= 0),
    PRIMARY KEY (order_id, sku)
);

-- Written by: order-worker. Every change of state, in order.
CREATE TABLE order_transitions (
    transition_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id      uuid NOT NULL REFERENCES orders,
    from_state    text,
    to_state      text NOT NULL,
    cause         text NOT NULL,
    at            timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX order_transitions_by_order ON order_transitions (order_id, transition_id);

-- Written by: order-worker. What has to happen because an order changed; carried out until confirmed.
CREATE TABLE outbox (
    outbox_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id   uuid NOT NULL REFERENCES orders,
    kind       text NOT NULL CHECK (kind IN ('charge', 'cancel_charge', 'refund', 'close_hold', 'mail', 'event')),
    -- What of its kind it is (the state it announces, the outcome of the hold), so that a cause writes its consequence once.
    about      text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    due_at     timestamptz NOT NULL DEFAULT now(),
    attempts   integer NOT NULL DEFAULT 0,
    done_at    timestamptz,
    last_error text,
    UNIQUE (order_id, kind, about)
);
CREATE INDEX outbox_due ON outbox (kind, due_at, outbox_id) WHERE done_at IS NULL;

-- Written by: order-worker. How far into each stream the claims have come; moved by compare-and-set in the claims' own transaction.
CREATE TABLE queue_positions (
    stream         text PRIMARY KEY,
    -- A stream that was made anew counts from 1 again.
    stream_created timestamptz NOT NULL,
    seq            bigint NOT NULL CHECK (seq >= 0),
    updated_at     timestamptz NOT NULL DEFAULT now()
);

-- Written by: order-worker. Messages nobody can read: kept for a person, never in the way of the others.
CREATE TABLE dead_letters (
    dead_letter_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream         text NOT NULL,
    stream_created timestamptz NOT NULL,
    seq            bigint NOT NULL,
    payload        bytea NOT NULL,
    reason         text NOT NULL,
    at             timestamptz NOT NULL DEFAULT now(),
    UNIQUE (stream, stream_created, seq)
);

-- Written by: payment. One payment per order; at most one PaymentIntent, at most one capture.
CREATE TABLE payments (
    order_id         uuid PRIMARY KEY,
    sale_id          uuid NOT NULL,
    state            text NOT NULL CHECK (state IN
        ('DUE', 'PROCESSING', 'REQUIRES_ACTION', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'REFUNDED')),
    currency         text NOT NULL,
    amount_minor     bigint NOT NULL CHECK (amount_minor > 0),
    payment_method   text NOT NULL,
    intent_id        text UNIQUE,
    decline_code     text,
    cancel_requested boolean NOT NULL DEFAULT false,
    captured_minor   bigint NOT NULL DEFAULT 0 CHECK (captured_minor IN (0, amount_minor)),
    attempts         integer NOT NULL DEFAULT 0,
    first_attempt_at timestamptz,
    due_at           timestamptz NOT NULL DEFAULT now(),
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX payments_due ON payments (due_at) WHERE state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION');

-- Written by: payment.
CREATE TABLE refunds (
    order_id     uuid PRIMARY KEY REFERENCES payments,
    state        text NOT NULL CHECK (state IN ('DUE', 'DONE')),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    reason       text NOT NULL,
    refund_id    text UNIQUE,
    attempts     integer NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL DEFAULT now(),
    created_at   timestamptz NOT NULL DEFAULT now(),
    done_at      timestamptz
);
CREATE INDEX refunds_due ON refunds (due_at) WHERE state = 'DUE';

-- Written by: payment. The provider's pace per endpoint, shared by all instances: a token bucket.
CREATE TABLE provider_budgets (
    endpoint    text PRIMARY KEY,
    tokens      double precision NOT NULL,
    refilled_at timestamptz NOT NULL DEFAULT now()
);

-- Written by: payment. What operators decided about the breaker, for all instances.
CREATE TABLE breaker_force (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    force      text NOT NULL CHECK (force IN ('AUTO', 'OPEN', 'CLOSED')),
    updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO breaker_force (force) VALUES ('AUTO');
