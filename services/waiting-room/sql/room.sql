SELECT sale_id, state, rate, admission_ms, joins_from, admits_from, admits_until, watches_stock, reserved_upto, head,
    era, paused_ms, paused_at,
    (extract(epoch FROM updated_at) * 1000000)::bigint AS "version!"
FROM rooms
WHERE sale_id = $1
