-- A new sale. The times are the store's, so that all instances sort alike.
INSERT INTO sales (sale_id, name, currency, state, starts_at, ends_at, hold_ms, room_rate, room_admission_ms, payment_patience_ms, version,
    propagated_version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, CASE WHEN $11::boolean THEN 0 ELSE 1 END)
