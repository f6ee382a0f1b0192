-- no-transaction
-- For lists of payments that have ended, newest first. Open ones are few, and have indexes of their own. A payment gets its entry when it ends:
-- nothing is written while it is worked on. CONCURRENTLY, so that payments go on meanwhile; one that is interrupted leaves an invalid index, to be
-- dropped before it is tried again. Written by: payment.
CREATE INDEX CONCURRENTLY payments_ended ON payments (state, created_at, order_id)
    WHERE state IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'REFUNDED')
