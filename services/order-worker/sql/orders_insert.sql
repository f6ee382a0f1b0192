-- A row that is there already wins, and nothing that follows may count the others; unless it waits as a dead letter.
INSERT INTO orders (
    order_id, sale_id, buyer_id, hold_id, epoch, admission_id, request_id, request_hash, state, currency, total_minor, email,
    contact_name, payment_method, locale, cancel_requested_at, end_reason, placed_at, traceparent
)
SELECT * FROM UNNEST(
    $1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::bigint[], $6::text[], $7::uuid[], $8::text[], $9::text[], $10::text[],
    $11::bigint[], $12::text[], $13::text[], $14::text[], $15::text[], $16::timestamptz[], $17::text[],
    $18::timestamptz[], $19::text[]
)
ON CONFLICT (order_id) DO UPDATE
SET sale_id = excluded.sale_id, buyer_id = excluded.buyer_id, hold_id = excluded.hold_id, epoch = excluded.epoch,
    admission_id = excluded.admission_id, request_id = excluded.request_id, request_hash = excluded.request_hash,
    state = excluded.state, currency = excluded.currency, total_minor = excluded.total_minor, email = excluded.email,
    contact_name = excluded.contact_name, payment_method = excluded.payment_method, locale = excluded.locale,
    cancel_requested_at = excluded.cancel_requested_at, end_reason = excluded.end_reason, placed_at = excluded.placed_at,
    traceparent = COALESCE(excluded.traceparent, orders.traceparent), claimed_at = now(), updated_at = order_change_time()
WHERE orders.state = 'DEAD_LETTER' AND excluded.state <> 'DEAD_LETTER'
RETURNING order_id
