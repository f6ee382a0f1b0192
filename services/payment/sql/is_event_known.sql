-- Whether an event of the provider's was taken. $1 its id.
SELECT EXISTS (SELECT FROM provider_events WHERE event_id = $1) AS "known!"
