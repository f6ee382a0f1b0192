-- How far the provider's list of events was read, and what came of it.
SELECT read_to, events_read, events_missed, updated_at FROM provider_comparison
