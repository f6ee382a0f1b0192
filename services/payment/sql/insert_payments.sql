-- Records payments as due. An order that has a row keeps it, also a cancelled one.
-- $1 order ids, $2 sale ids, $3 amounts, $4 currencies, $5 means of payment: arrays of one length.
INSERT INTO payments (order_id, sale_id, state, currency, amount_minor, payment_method)
SELECT order_id, sale_id, 'DUE', currency, amount_minor, payment_method
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[])
    AS asked (order_id, sale_id, amount_minor, currency, payment_method)
-- One order for all callers, so that two batches never wait for each other in a circle.
ORDER BY order_id
ON CONFLICT (order_id) DO NOTHING
