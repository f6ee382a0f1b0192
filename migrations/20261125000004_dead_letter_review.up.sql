-- An order whose message cannot be recorded has a row all the same, in the state DEAD_LETTER: it waits for a person until its letter's
-- review_by, and only then, or once it is claimed, do its units move.
ALTER TABLE orders DROP CONSTRAINT orders_state_check;
ALTER TABLE orders ADD CONSTRAINT orders_state_check CHECK (state IN
    ('DEAD_LETTER', 'CLAIMED', 'PAYING', 'ACTION_REQUIRED', 'CONFIRMED', 'DECLINED', 'CANCELLED', 'REFUNDED')) NOT VALID;
ALTER TABLE orders VALIDATE CONSTRAINT orders_state_check;

ALTER TABLE dead_letters
    ADD COLUMN sale_id     uuid,
    ADD COLUMN review_by   timestamptz NOT NULL DEFAULT now() + interval '1 day',
    -- Somebody wants its order published again, as its hold carries it.
    ADD COLUMN retry_at    timestamptz,
    ADD COLUMN resolved_at timestamptz,
    ADD COLUMN resolution  text CHECK (resolution IN ('RETRIED', 'DROPPED', 'EXPIRED', 'CANCELLED')),
    ADD CONSTRAINT dead_letters_resolved CHECK ((resolved_at IS NULL) = (resolution IS NULL));
CREATE INDEX dead_letters_open ON dead_letters (review_by, dead_letter_id) WHERE resolved_at IS NULL;
