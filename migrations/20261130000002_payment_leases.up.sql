-- A payment's lease stands apart from when it is due, so that an event or a wish to cancel can wake it without ending the lease.
-- What is sent to create its intent is kept with the idempotency key it goes out under, and two clocks take the place of one.
-- Written by: payment.
ALTER TABLE payments
    ADD COLUMN lease_id uuid,
    ADD COLUMN lease_until timestamptz,
    -- The form of the request that creates the intent, byte for byte. It names the means of payment.
    ADD COLUMN create_form text,
    -- What the idempotency keys end in, and when the first request went out under it.
    ADD COLUMN generation integer NOT NULL DEFAULT 0,
    ADD COLUMN generation_at timestamptz,
    -- The provider answers under these keys with what it has stored, whatever is asked.
    ADD COLUMN key_spent boolean NOT NULL DEFAULT false,
    -- When the last request to create the intent may have gone out; first_attempt_at is when the first one may have.
    ADD COLUMN last_attempt_at timestamptz,
    -- The provider asked not to be asked earlier.
    ADD COLUMN not_before timestamptz,
    -- When it first was the buyer's turn.
    ADD COLUMN turn_at timestamptz,
    -- Answers in a row that say our request is wrong, or that cannot be read.
    ADD COLUMN failures integer NOT NULL DEFAULT 0,
    ADD COLUMN end_reason text CHECK (end_reason IN ('provider_unavailable', 'amount_mismatch')),
    -- The provider may capture another amount than it was asked for: what it took is booked, and given back.
    DROP CONSTRAINT payments_check,
    ADD CONSTRAINT payments_captured_minor_check CHECK (captured_minor >= 0);

-- What the version before may have sent: its requests count as sent. It had other keys, so that an intent whose answer it lost is looked for
-- before another request goes out: that is what a first attempt without a generation says. What it left under a lease is looked at again at
-- its end, as before.
UPDATE payments
SET last_attempt_at = updated_at,
    generation_at = CASE WHEN intent_id IS NOT NULL THEN first_attempt_at END,
    turn_at = CASE WHEN state = 'REQUIRES_ACTION' THEN updated_at END
WHERE first_attempt_at IS NOT NULL;
