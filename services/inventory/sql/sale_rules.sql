SELECT version, state, currency, starts_at, ends_at, hold_ms, room_rate IS NOT NULL AS "room!"
FROM sales
WHERE sale_id = $1
