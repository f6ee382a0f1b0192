-- Notes that an event of the provider's was taken. $1 its id, $2 its type, $3 the intent it is about.
INSERT INTO provider_events (event_id, type, intent) VALUES ($1, $2, $3)
ON CONFLICT (event_id) DO NOTHING
