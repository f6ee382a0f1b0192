-- A row that is there already wins: nothing that follows may count the others.
INSERT INTO orders (
    order_id, sale_id, buyer_id, hold_id, epoch, admission_id, request_id, request_hash, state, currency, total_minor, email,
    contact_name, payment_method, cancel_requested_at, end_reason, placed_at, traceparent
)
SELECT * FROM UNNEST(
    $1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::bigint[], $6::text[], $7::uuid[], $8::text[], $9::text[], $10::text[],
    $11::bigint[], $12::text[], $13::text[], $14::text[], $15::timestamptz[], $16::text[], $17::timestamptz[],
    $18::text[]
)
ON CONFLICT (order_id) DO NOTHING
RETURNING order_id
