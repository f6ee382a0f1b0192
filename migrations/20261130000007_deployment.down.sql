DROP TABLE provider_comparison, provider_account;
