-- A refused card is the buyer's turn: they may name another one for a while, and the same intent is confirmed with it.
-- Written by: payment.
-- The version before must not go on with what this one begins: it would cancel an intent that names no card yet, and one that waits for
-- another card. All its statements that take a payment up, settle one or record one read this column, and fail as a whole until it is gone.
ALTER TABLE payments RENAME COLUMN key_spent TO key_is_spent;
ALTER TABLE payments
    -- What the buyer has to do while it is their turn, and since when.
    ADD COLUMN action text CHECK (action IN ('AUTHENTICATE', 'NEW_METHOD')),
    ADD COLUMN action_at timestamptz,
    -- The number of the card attempt that was begun or asked for last, and of the last one that was refused.
    ADD COLUMN card_attempt integer NOT NULL DEFAULT 1,
    ADD COLUMN card_declined integer NOT NULL DEFAULT 0,
    -- The number of the last card whose confirmation may have gone out: only such a one can have been refused.
    ADD COLUMN card_sent integer NOT NULL DEFAULT 0,
    -- When the first one was refused.
    ADD COLUMN card_declined_at timestamptz,
    -- Which refusal at the provider was recorded last: one that is seen again is no other one.
    ADD COLUMN decline_ref text,
    -- No other card is taken any more.
    ADD COLUMN decline_final boolean NOT NULL DEFAULT false;

-- In the version before a refusal was the end.
UPDATE payments SET card_declined = 1, card_declined_at = updated_at, decline_final = true WHERE decline_code IS NOT NULL;
UPDATE payments SET card_sent = 1 WHERE state <> 'DUE';
UPDATE payments SET action = 'AUTHENTICATE', action_at = turn_at WHERE state = 'REQUIRES_ACTION';

-- The card attempts of a payment but for a first one that was not refused. Rows are written once and completed once.
-- Written by: payment.
CREATE TABLE payment_attempts (
    order_id          uuid NOT NULL REFERENCES payments,
    n                 integer NOT NULL CHECK (n > 0),
    -- The request of RetryPayment; none for the order's own card, and for one that was confirmed in the buyer's browser.
    request_id        uuid,
    -- The provider's token of the means of payment, where we sent it.
    method            text,
    outcome           text CHECK (outcome IN ('DECLINED', 'SUCCEEDED', 'CANCELLED')),
    decline_code      text,
    decline_ref       text,
    -- The provider's id of the request that was refused.
    stripe_request_id text,
    at                timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, n),
    UNIQUE (order_id, request_id)
);
