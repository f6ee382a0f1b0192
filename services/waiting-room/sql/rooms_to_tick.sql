-- Closed rooms stay for a while, so that a server that missed the closing learns of it.
SELECT sale_id, state, rate, admission_ms, joins_from, admits_from, admits_until, watches_stock, reserved_upto, head,
    era, paused_ms, paused_at,
    (extract(epoch FROM updated_at) * 1000000)::bigint AS "version!"
FROM rooms
WHERE state <> 'CLOSED' OR updated_at > now() - interval '1 hour'
ORDER BY updated_at DESC
LIMIT $1
