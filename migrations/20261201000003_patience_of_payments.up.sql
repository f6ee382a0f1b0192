-- What a payment's sale said about its buyer's patience when it was recorded. Without a CHECK: to verify one, all payments would be read while
-- they are locked. A file of its own, so that `sales` is not locked meanwhile.
-- Written by: payment.
ALTER TABLE payments ADD COLUMN patience_ms bigint
