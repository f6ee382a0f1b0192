-- Versions only rise, also when two changes wait for each other or the clock goes back.
INSERT INTO rooms (sale_id, state, rate, admission_ms)
VALUES ($1, 'CLOSED', $2, $3)
ON CONFLICT (sale_id) DO UPDATE
SET rate = $2, admission_ms = $3,
    updated_at = GREATEST(clock_timestamp(), rooms.updated_at + interval '1 microsecond')
RETURNING sale_id, state, rate, admission_ms, reserved_upto, head, (extract(epoch FROM updated_at) * 1000000)::bigint AS "version!"
