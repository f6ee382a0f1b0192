-- A bucket that the provider has limited goes slower for a while: the rate it was lowered to, and when. It grows back by one a second, each
-- second. Written by: payment.
ALTER TABLE provider_budgets
    ADD COLUMN rate double precision CHECK (rate > 0),
    ADD COLUMN rate_at timestamptz;

-- Payments are taken up in turn over the sales: the next one of each.
CREATE INDEX payments_due_by_sale ON payments (sale_id, due_at) WHERE state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION');
