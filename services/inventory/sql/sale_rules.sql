-- A sale's rules, and by this server's clock how far it is: an order in the record has begun it in any case, and nothing else a sale that is
-- to be called off.
SELECT version, state, currency, starts_at, ends_at, hold_ms, room_rate IS NOT NULL AS "room!", cancel_requested,
    ((starts_at <= now() AND NOT cancel_requested) OR EXISTS (SELECT FROM orders o WHERE o.sale_id = s.sale_id)) AS "begun!", ends_at <= now() AS "over!"
FROM sales s
WHERE sale_id = $1
