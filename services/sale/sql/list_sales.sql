-- A page of sales, newest first, from behind ($1, $2) on; both null: from the newest.
SELECT sale_id, name, currency, state, starts_at, ends_at, hold_ms, payment_patience_ms, room_rate, room_admission_ms, room_pre_queue_ms,
    expected_peak_per_second, cancel_requested, allow_shared_skus, version, propagated_version, final_at, created_at, updated_at
FROM sales
WHERE $1::timestamptz IS NULL OR (created_at, sale_id) < ($1, $2::uuid)
ORDER BY created_at DESC, sale_id DESC
LIMIT $3
