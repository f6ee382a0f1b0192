-- As sale_rules.sql; keeps the sale and its items from changing until the transaction ends.
SELECT version, state, currency, starts_at, ends_at, hold_ms, room_rate IS NOT NULL AS "room!", cancel_requested,
    ((starts_at <= now() AND NOT cancel_requested) OR EXISTS (SELECT FROM orders o WHERE o.sale_id = s.sale_id)) AS "begun!", ends_at <= now() AS "over!"
FROM sales s
WHERE sale_id = $1
FOR SHARE OF s
