-- Which of the provider's intents are this deployment's: each carries this id. A second deployment that uses the same account has another one.
-- Written by: this migration alone.
CREATE TABLE provider_account (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    deployment uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO provider_account DEFAULT VALUES;

-- How far the provider's list of events was read, for those that were not sent to us.
-- Written by: payment.
CREATE TABLE provider_comparison (
    only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    read_to       timestamptz NOT NULL DEFAULT now(),
    events_read   bigint NOT NULL DEFAULT 0,
    -- Those that had not come within a minute.
    events_missed bigint NOT NULL DEFAULT 0,
    leased_until  timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);
INSERT INTO provider_comparison DEFAULT VALUES;
