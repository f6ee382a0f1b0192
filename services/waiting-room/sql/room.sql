SELECT sale_id, state, rate, admission_ms, reserved_upto, head, (extract(epoch FROM updated_at) * 1000000)::bigint AS "version!"
FROM rooms
WHERE sale_id = $1
