-- The id that this deployment's intents carry.
SELECT deployment FROM provider_account
