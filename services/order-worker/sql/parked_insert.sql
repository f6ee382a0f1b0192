INSERT INTO parked_orders (order_id, sale_id, seq, message, traceparent)
SELECT p.order_id, p.sale_id, p.seq, p.message::jsonb, p.traceparent
FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[]) AS p (order_id, sale_id, seq, message, traceparent)
ON CONFLICT (order_id) DO NOTHING
