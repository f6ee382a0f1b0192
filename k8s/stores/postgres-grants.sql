-- Written by `make grants` from grants.toml.
--
-- What each role may do. Run it as `migrator`, which owns the tables, after each migration. In one transaction it takes
-- everything from the roles and gives what the list says: a service that runs meanwhile notices nothing.
BEGIN;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM "auditor", "checkout", "inventory", "order-worker", "payment", "sale", "waiting-room";

GRANT SELECT ON allotments TO "auditor";
GRANT SELECT ON dead_letters TO "auditor";
GRANT SELECT ON money_moves TO "auditor";
GRANT SELECT ON order_lines TO "auditor";
GRANT SELECT ON order_transitions TO "auditor";
GRANT SELECT (order_id, sale_id, buyer_id, hold_id, epoch, admission_id, request_id, state, currency, total_minor, payment_method, end_reason, placed_at) ON orders TO "auditor";
GRANT SELECT ON outbox TO "auditor";
GRANT SELECT (order_id, request_id, outcome) ON payment_attempts TO "auditor";
GRANT SELECT (order_id, sale_id, state, currency, amount_minor, payment_method, intent_id, captured_minor, refunded_minor) ON payments TO "auditor";
GRANT SELECT ON price_revisions TO "auditor";
GRANT SELECT ON queue_positions TO "auditor";
GRANT SELECT (refund_id, order_id, state, amount_minor, created_at, done_at) ON refunds TO "auditor";
GRANT SELECT ON rooms TO "auditor";
GRANT SELECT (sale_id, before, after) ON sale_changes TO "auditor";
GRANT SELECT ON sale_items TO "auditor";
GRANT SELECT ON sale_prices TO "auditor";
GRANT SELECT ON sale_stock TO "auditor";
GRANT SELECT ON sales TO "auditor";
GRANT SELECT ON stock_adjustments TO "auditor";

GRANT SELECT (dead_letter_id, order_id, resolved_at, retry_at) ON dead_letters TO "checkout";
GRANT SELECT ON order_lines TO "checkout";
GRANT SELECT (order_id, sale_id, buyer_id, hold_id, state, currency, total_minor, cancel_requested_at, end_reason, placed_at, updated_at) ON orders TO "checkout";
GRANT SELECT (order_id, sale_id, message) ON parked_orders TO "checkout";
GRANT SELECT (order_id, state, action, action_at, decline_code, client_secret, redirect_url, turn_until, refunded_minor) ON payments TO "checkout";
GRANT SELECT ON queue_positions TO "checkout";
GRANT SELECT ON sale_stock TO "checkout";
GRANT SELECT ON sales TO "checkout";
GRANT SELECT ON stock_fences TO "checkout";

GRANT SELECT, INSERT (sale_id, sku, allotted), UPDATE (allotted), DELETE ON allotments TO "inventory";
GRANT SELECT ON order_lines TO "inventory";
GRANT SELECT (order_id, sale_id, buyer_id, hold_id, epoch, admission_id, request_id, request_hash, state, placed_at, updated_at) ON orders TO "inventory";
GRANT SELECT (sale_id) ON parked_orders TO "inventory";
GRANT SELECT ON price_revisions TO "inventory";
GRANT SELECT ON queue_positions TO "inventory";
GRANT SELECT, INSERT, UPDATE, DELETE ON redis_servers TO "inventory";
GRANT SELECT ON sale_items TO "inventory";
GRANT SELECT ON sale_prices TO "inventory";
GRANT SELECT, INSERT, UPDATE ON sale_stock TO "inventory";
GRANT SELECT, UPDATE (row_lock) ON sales TO "inventory";
GRANT SELECT, INSERT, UPDATE, DELETE ON stock_adjustments TO "inventory";
GRANT SELECT ON stock_fences TO "inventory";
GRANT SELECT, INSERT ON stock_takeovers TO "inventory";

GRANT SELECT, UPDATE (claimed) ON allotments TO "order-worker";
GRANT SELECT, INSERT, UPDATE ON dead_letters TO "order-worker";
GRANT SELECT, INSERT ON order_lines TO "order-worker";
GRANT SELECT, INSERT ON order_transitions TO "order-worker";
GRANT SELECT, INSERT, UPDATE ON orders TO "order-worker";
GRANT SELECT, INSERT, UPDATE ON outbox TO "order-worker";
GRANT SELECT, INSERT, UPDATE, DELETE ON parked_orders TO "order-worker";
GRANT SELECT (order_id, state, decline_code, end_reason, updated_at) ON payments TO "order-worker";
GRANT SELECT ON price_revisions TO "order-worker";
GRANT SELECT, INSERT, UPDATE ON queue_positions TO "order-worker";
GRANT SELECT (refund_id, order_id, state, amount_minor, done_at) ON refunds TO "order-worker";
GRANT SELECT (sale_id, before, after) ON sale_changes TO "order-worker";
GRANT SELECT ON sale_items TO "order-worker";
GRANT SELECT ON sale_prices TO "order-worker";
GRANT SELECT, UPDATE (row_lock) ON sale_stock TO "order-worker";
GRANT SELECT ON sales TO "order-worker";
GRANT SELECT, INSERT, UPDATE ON stock_fences TO "order-worker";

GRANT SELECT, INSERT, UPDATE ON breaker_force TO "payment";
GRANT SELECT, INSERT ON breaker_history TO "payment";
GRANT SELECT, INSERT ON budget_history TO "payment";
GRANT SELECT, INSERT ON money_moves TO "payment";
GRANT SELECT (order_id, sale_id, state, currency, total_minor, payment_method) ON orders TO "payment";
GRANT SELECT, INSERT ON payment_abandonments TO "payment";
GRANT SELECT, INSERT, UPDATE ON payment_attempts TO "payment";
GRANT SELECT, INSERT, UPDATE ON payments TO "payment";
GRANT SELECT, UPDATE ON provider_account TO "payment";
GRANT SELECT, INSERT, UPDATE ON provider_budgets TO "payment";
GRANT SELECT, UPDATE ON provider_comparison TO "payment";
GRANT SELECT, INSERT, DELETE ON provider_events TO "payment";
GRANT SELECT, INSERT, UPDATE ON refunds TO "payment";
GRANT SELECT (sale_id, payment_patience_ms) ON sales TO "payment";

GRANT SELECT ON allotments TO "sale";
GRANT SELECT ON order_lines TO "sale";
GRANT SELECT (order_id, sale_id, buyer_id, state, currency, end_reason, placed_at, updated_at) ON orders TO "sale";
GRANT SELECT ON outbox TO "sale";
GRANT SELECT (sale_id) ON parked_orders TO "sale";
GRANT SELECT (order_id, state, captured_minor) ON payments TO "sale";
GRANT SELECT, INSERT, UPDATE ON price_revisions TO "sale";
GRANT SELECT (order_id, state, amount_minor) ON refunds TO "sale";
GRANT SELECT, INSERT ON sale_changes TO "sale";
GRANT SELECT, INSERT, DELETE ON sale_items TO "sale";
GRANT SELECT, INSERT ON sale_prices TO "sale";
GRANT SELECT, INSERT ON sale_requests TO "sale";
GRANT SELECT, INSERT ON sale_sources TO "sale";
GRANT SELECT, UPDATE (row_lock) ON sale_stock TO "sale";
GRANT SELECT, INSERT, UPDATE ON sales TO "sale";
GRANT SELECT ON stock_adjustments TO "sale";

GRANT SELECT ON redis_servers TO "waiting-room";
GRANT SELECT, INSERT, DELETE ON room_ticks TO "waiting-room";
GRANT SELECT, INSERT, UPDATE ON rooms TO "waiting-room";

COMMIT;
