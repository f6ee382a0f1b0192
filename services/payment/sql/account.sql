-- The account at the provider that has this deployment's payments, once there is one.
SELECT account_id, is_live, bound_at FROM provider_account
