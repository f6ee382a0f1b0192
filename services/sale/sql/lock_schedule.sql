-- One window at a time is held against the others, by whichever instance: what the next one reads is what this one has recorded. The number
-- only sets it apart from other locks.
SELECT true AS "locked!" FROM pg_advisory_xact_lock(7310868735423608)
