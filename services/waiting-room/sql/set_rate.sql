UPDATE rooms
SET rate = $2, updated_at = GREATEST(clock_timestamp(), updated_at + interval '1 microsecond')
WHERE sale_id = $1
RETURNING sale_id, state, rate, admission_ms, joins_from, admits_from, admits_until, watches_stock, reserved_upto, head,
    era, paused_ms, paused_at,
    (extract(epoch FROM updated_at) * 1000000)::bigint AS "version!"
