-- no-transaction
-- The same for the lists of one sale. Written by: payment.
CREATE INDEX CONCURRENTLY payments_ended_by_sale ON payments (sale_id, created_at, order_id)
    WHERE state IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'REFUNDED')
