-- As sale_rules.sql; keeps the sale and its items from changing until the transaction ends.
SELECT version, state, currency, starts_at, ends_at, hold_ms, room_rate IS NOT NULL AS "room!"
FROM sales
WHERE sale_id = $1
FOR SHARE
