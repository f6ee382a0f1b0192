UPDATE rooms
SET state = $2,
    paused_ms = paused_ms + CASE
        WHEN state = 'PAUSED' AND $2 <> 'PAUSED' AND paused_at IS NOT NULL
        THEN GREATEST(0, (extract(epoch FROM clock_timestamp() - paused_at) * 1000)::bigint)
        ELSE 0
    END,
    paused_at = CASE WHEN $2 <> 'PAUSED' THEN NULL WHEN state = 'PAUSED' THEN paused_at ELSE clock_timestamp() END,
    updated_at = GREATEST(clock_timestamp(), updated_at + interval '1 microsecond')
WHERE sale_id = $1
RETURNING sale_id, state, rate, admission_ms, joins_from, admits_from, admits_until, watches_stock, reserved_upto, head,
    era, paused_ms, paused_at,
    (extract(epoch FROM updated_at) * 1000000)::bigint AS "version!"
