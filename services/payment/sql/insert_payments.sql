-- Records payments as due. An order that has a row keeps it, also a cancelled one.
-- $1 order ids, $2 sale ids, $3 amounts, $4 currencies, $5 means of payment, $6 traces: arrays of one length.
INSERT INTO payments (order_id, sale_id, state, currency, amount_minor, payment_method, traceparent)
SELECT order_id, sale_id, 'DUE', currency, amount_minor, payment_method, traceparent
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[])
    AS asked (order_id, sale_id, amount_minor, currency, payment_method, traceparent)
-- One order for all callers, so that two batches never wait for each other in a circle.
ORDER BY order_id
ON CONFLICT (order_id) DO NOTHING
