-- One instance at a time tells the others of a sale, so that an older state never arrives behind a newer one. An advisory lock,
-- because telling must neither block changes of the sale nor inventory's reading of it. The number only sets it apart
-- from other locks.
SELECT pg_try_advisory_xact_lock(hashtextextended($1::uuid::text, 7310868735423607)) AS "locked!"
