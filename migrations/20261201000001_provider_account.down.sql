ALTER TABLE provider_comparison DROP COLUMN differences, DROP COLUMN compared_at;
ALTER TABLE provider_account
    DROP CONSTRAINT provider_account_bound,
    DROP COLUMN account_id,
    DROP COLUMN is_live,
    DROP COLUMN bound_at;
