DROP INDEX dead_letters_open;
ALTER TABLE dead_letters
    DROP CONSTRAINT dead_letters_resolved,
    DROP COLUMN resolution,
    DROP COLUMN resolved_at,
    DROP COLUMN retry_at,
    DROP COLUMN review_by,
    DROP COLUMN sale_id;

-- What waits cannot wait any more: it ends with all that follows from an end.
INSERT INTO order_transitions (order_id, from_state, to_state, cause)
SELECT order_id, 'DEAD_LETTER', 'CANCELLED', 'dead_letter_dropped' FROM orders WHERE state = 'DEAD_LETTER';
INSERT INTO outbox (order_id, kind, about)
SELECT o.order_id, c.kind, c.about
FROM orders o
CROSS JOIN (VALUES ('close_hold', 'RELEASED'), ('mail', 'CANCELLED'), ('event', 'CANCELLED')) AS c (kind, about)
WHERE o.state = 'DEAD_LETTER'
ON CONFLICT (order_id, kind, about) DO NOTHING;
UPDATE orders SET state = 'CANCELLED', end_reason = 'dead_letter_dropped', updated_at = now() WHERE state = 'DEAD_LETTER';
ALTER TABLE orders DROP CONSTRAINT orders_state_check;
ALTER TABLE orders ADD CONSTRAINT orders_state_check CHECK (state IN
    ('CLAIMED', 'PAYING', 'ACTION_REQUIRED', 'CONFIRMED', 'DECLINED', 'CANCELLED', 'REFUNDED'));
