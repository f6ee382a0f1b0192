ALTER TABLE payments
    DROP CONSTRAINT payments_captured_minor_check,
    -- NOT VALID: a row that booked another amount stays.
    ADD CONSTRAINT payments_check CHECK (captured_minor IN (0, amount_minor)) NOT VALID,
    DROP COLUMN end_reason,
    DROP COLUMN failures,
    DROP COLUMN turn_at,
    DROP COLUMN not_before,
    DROP COLUMN key_spent,
    DROP COLUMN last_attempt_at,
    DROP COLUMN generation_at,
    DROP COLUMN generation,
    DROP COLUMN create_form,
    DROP COLUMN lease_until,
    DROP COLUMN lease_id;
