-- Money goes back in parts, each refund under an id of its own, and every move of money is written into a ledger that nothing changes.
-- While this is rolled out, payment of the version before cannot record, take up or finish refunds: it would give back all of a payment where a
-- part is due. What it tries fails as a whole, and is done by the new version when it is tried again.
-- Written by: payment.

-- In the order in which the services lock them.
LOCK TABLE payments, refunds IN ACCESS EXCLUSIVE MODE;
ALTER TABLE refunds RENAME COLUMN attempts TO calls;
ALTER TABLE refunds RENAME COLUMN refund_id TO provider_ref;
ALTER TABLE refunds
    -- The UUIDv5, in the order's id, of the request that asked for it; of the version before, the order's id.
    ADD COLUMN refund_id uuid,
    -- The intent whose money goes back: the payment's own, or one that should not have been captured.
    ADD COLUMN intent_id text,
    -- Whether it is all that is left of the intent's money, rather than a part that was named.
    ADD COLUMN is_rest boolean NOT NULL DEFAULT true,
    -- The number of the try at the provider, which keeps the first answer of each.
    ADD COLUMN try integer NOT NULL DEFAULT 1 CHECK (try > 0),
    -- How many tries have failed since it was asked for.
    ADD COLUMN failed integer NOT NULL DEFAULT 0,
    -- The words of who asked for it.
    ADD COLUMN note text;
UPDATE refunds r SET refund_id = r.order_id, intent_id = p.intent_id FROM payments p WHERE p.order_id = r.order_id;
ALTER TABLE refunds
    DROP CONSTRAINT refunds_pkey,
    ADD PRIMARY KEY (refund_id),
    ALTER COLUMN intent_id SET NOT NULL,
    DROP CONSTRAINT refunds_state_check,
    ADD CONSTRAINT refunds_state_check CHECK (state IN ('DUE', 'PENDING', 'DONE', 'FAILED')),
    -- A rest that other refunds have used up is nothing.
    DROP CONSTRAINT refunds_amount_minor_check,
    ADD CONSTRAINT refunds_amount_minor_check CHECK (amount_minor >= 0);
DROP INDEX refunds_due;
CREATE INDEX refunds_due ON refunds (due_at) WHERE state IN ('DUE', 'PENDING');
CREATE INDEX refunds_of_order ON refunds (order_id);
CREATE UNIQUE INDEX refunds_rest ON refunds (intent_id) WHERE is_rest;

-- What of the captured money is back, in minor units.
ALTER TABLE payments ADD COLUMN refunded_minor bigint NOT NULL DEFAULT 0 CHECK (refunded_minor >= 0);
UPDATE payments SET refunded_minor = captured_minor WHERE state = 'REFUNDED';

-- The ledger: each move of money at the provider, once, written in the transaction that draws its consequences. Append-only.
-- Written by: payment.
CREATE TABLE money_moves (
    kind         text NOT NULL CHECK (kind IN ('CAPTURED', 'REFUNDED', 'REFUND_FAILED', 'DISPUTED', 'DISPUTE_WON')),
    -- The provider's id: of the intent, the refund or the dispute.
    provider_ref text NOT NULL,
    order_id     uuid NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    currency     text NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    learnt_by    text NOT NULL CHECK (learnt_by IN ('call', 'event', 'comparison', 'migration')),
    PRIMARY KEY (kind, provider_ref)
);
CREATE INDEX money_moves_of_order ON money_moves (order_id);
CREATE FUNCTION money_moves_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'money_moves is append-only';
END
$$;
CREATE TRIGGER money_moves_stay BEFORE UPDATE OR DELETE ON money_moves FOR EACH ROW EXECUTE FUNCTION money_moves_stay();
CREATE TRIGGER money_moves_stay_whole BEFORE TRUNCATE ON money_moves FOR EACH STATEMENT EXECUTE FUNCTION money_moves_stay();

INSERT INTO money_moves (kind, provider_ref, order_id, amount_minor, currency, at, learnt_by)
SELECT 'CAPTURED', intent_id, order_id, captured_minor, currency, updated_at, 'migration' FROM payments WHERE captured_minor > 0;
INSERT INTO money_moves (kind, provider_ref, order_id, amount_minor, currency, at, learnt_by)
SELECT 'REFUNDED', r.provider_ref, r.order_id, r.amount_minor, p.currency, r.done_at, 'migration'
FROM refunds r JOIN payments p USING (order_id)
WHERE r.state = 'DONE' AND r.provider_ref IS NOT NULL;

-- The provider's events that were taken, so that one that comes again has no second effect. Without what they say: that may be personal.
-- Written by: payment.
CREATE TABLE provider_events (
    event_id text PRIMARY KEY,
    type     text NOT NULL,
    intent   text,
    at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX provider_events_old ON provider_events (at);
