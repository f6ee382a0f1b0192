-- Forgets events that the provider does not send again: it does so for three days. $1 how many at most.
DELETE FROM provider_events
WHERE event_id IN (SELECT event_id FROM provider_events WHERE at < now() - interval '30 days' LIMIT $1)
