-- Records payments as due. An order that has a row keeps it, also a cancelled one.
-- $1 order ids, $2 sale ids, $3 amounts, $4 currencies, $5 means of payment, $6 traces, $7 how long buyers may take, in ms: arrays of one length.
INSERT INTO payments (order_id, sale_id, state, currency, amount_minor, payment_method, traceparent, patience_ms)
SELECT order_id, sale_id, 'DUE', currency, amount_minor, payment_method, traceparent, patience_ms
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[])
    AS asked (order_id, sale_id, amount_minor, currency, payment_method, traceparent, patience_ms)
-- One order for all callers, so that two batches never wait for each other in a circle.
ORDER BY order_id
ON CONFLICT (order_id) DO NOTHING
