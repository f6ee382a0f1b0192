-- Refunds of these orders that are done and that no mail tells of, in the order in which they were done. The version before wrote one mail about
-- all of an order's money, when the order became REFUNDED.
SELECT r.order_id, r.refund_id
FROM refunds r
WHERE r.order_id = ANY ($1) AND r.state = 'DONE' AND r.amount_minor > 0
    AND NOT EXISTS (
        SELECT FROM outbox b
        WHERE b.order_id = r.order_id AND b.kind = 'mail' AND b.about IN ('REFUNDED', 'REFUND.' || r.refund_id)
    )
ORDER BY r.done_at, r.refund_id
