-- How long the buyers of a sale may take to authenticate a payment; null for what payment is configured with.
-- Written by: sale.
ALTER TABLE sales ADD COLUMN payment_patience_ms bigint CHECK (payment_patience_ms > 0)
