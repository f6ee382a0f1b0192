-- Notes how far the provider's events were read, and keeps it for the next window. $1 to when, $2 how many were read, $3 how many had been
-- missed, $4 for how long it is kept, in ms.
UPDATE provider_comparison
SET read_to = GREATEST(read_to, $1),
    events_read = events_read + $2,
    events_missed = events_missed + $3,
    leased_until = now() + $4 * interval '1 millisecond',
    updated_at = now()
