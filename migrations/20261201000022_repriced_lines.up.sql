-- no-transaction
-- For orders at prices that have changed. Lines at first prices, which are nearly all, have no entry. CONCURRENTLY, so that claims go on
-- meanwhile; one that is interrupted leaves an invalid index, to be dropped before it is tried again. Written by: order-worker.
CREATE INDEX CONCURRENTLY order_lines_repriced ON order_lines (price_revision, order_id) WHERE price_revision > 1
