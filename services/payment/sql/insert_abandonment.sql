-- Records that an operator ends a payment. No row when a request of this id has ended another one.
-- $1 order, $2 caller, $3 why, $4 intent, $5 what the provider said of it, $6 request id.
INSERT INTO payment_abandonments (order_id, caller, reason, intent_id, seen, request_id) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING
