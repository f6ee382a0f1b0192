-- Unset, watches_stock keeps what it was. Versions only rise, also when two changes wait for each other or the clock goes back.
INSERT INTO rooms (sale_id, state, rate, admission_ms, joins_from, admits_from, admits_until, watches_stock)
VALUES ($1, 'CLOSED', $2, $3, $4, $5, $6, COALESCE($7::boolean, true))
ON CONFLICT (sale_id) DO UPDATE
SET rate = $2, admission_ms = $3, joins_from = $4, admits_from = $5, admits_until = $6,
    watches_stock = COALESCE($7::boolean, rooms.watches_stock),
    updated_at = GREATEST(clock_timestamp(), rooms.updated_at + interval '1 microsecond')
RETURNING sale_id, state, rate, admission_ms, joins_from, admits_from, admits_until, watches_stock, reserved_upto, head,
    era, paused_ms, paused_at,
    (extract(epoch FROM updated_at) * 1000000)::bigint AS "version!"
