-- Which account at the provider has the payments of this deployment, and whether its money is real: written with the first payment, and compared
-- with what each instance's key says. The key of another account knows none of the intents.
-- Written by: payment.
ALTER TABLE provider_account
    ADD COLUMN account_id text,
    ADD COLUMN is_live boolean,
    ADD COLUMN bound_at timestamptz,
    ADD CONSTRAINT provider_account_bound CHECK ((account_id IS NULL) = (is_live IS NULL));

-- How many payments contradicted the ledger or their order when they were last compared, for the metrics.
-- Written by: payment.
ALTER TABLE provider_comparison
    ADD COLUMN differences bigint NOT NULL DEFAULT 0,
    ADD COLUMN compared_at timestamptz NOT NULL DEFAULT '-infinity';
