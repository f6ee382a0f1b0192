-- Payments that an operator ended, and what the provider said of their intents when it was asked for that. Written by: payment.
CREATE TABLE payment_abandonments (
    order_id   uuid PRIMARY KEY REFERENCES payments,
    at         timestamptz NOT NULL DEFAULT now(),
    caller     text NOT NULL,
    reason     text NOT NULL CHECK (reason <> ''),
    intent_id  text NOT NULL,
    -- `missing`: it has no such intent. `canceled`: it can never be captured.
    seen       text NOT NULL CHECK (seen IN ('missing', 'canceled')),
    request_id uuid NOT NULL UNIQUE
);

CREATE TRIGGER payment_abandonments_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON payment_abandonments
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
