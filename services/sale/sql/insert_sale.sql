-- A new sale and the first row of its history. The times are the store's, so that all instances sort alike.
WITH made AS (
    INSERT INTO sales (sale_id, name, currency, state, starts_at, ends_at, hold_ms, room_rate, room_admission_ms, room_pre_queue_ms,
        payment_patience_ms, expected_peak_per_second, version, propagated_version)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, CASE WHEN $13::boolean THEN 0 ELSE 1 END)
    RETURNING sale_id, version, to_jsonb(sales) AS after
)
INSERT INTO sale_changes (sale_id, version, kind, actor, request_id, reason, after, skus, skus_changed)
SELECT sale_id, version, $14, $15, $16, $17, after, '{}', 0 FROM made
