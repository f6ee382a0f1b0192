-- Appends a decision about the breaker. No row when it would be over before it began, or holds longer than it may, by this clock.
-- $1 caller, $2 AUTO, OPEN or CLOSED, $3 why, $4 when it ends, $5 request id, $6 the longest that it may hold, in ms; null for any length.
INSERT INTO breaker_history (at, caller, force, reason, expires_at, request_id)
SELECT clock.now, $1::text, $2::text, $3::text, $4::timestamptz, $5::uuid
FROM (SELECT clock_timestamp() AS now) AS clock
WHERE $4::timestamptz IS NULL
    OR $4 > clock.now AND ($6::double precision IS NULL OR $4 <= clock.now + $6 * interval '1 millisecond')
RETURNING at, caller, force, reason, expires_at, request_id
