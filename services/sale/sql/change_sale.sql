-- Compare-and-set: only as long as the sale is as it was read, and with a row of its history. $1 sale, $2 version, $3 state, $4 name, $5 currency,
-- $6 and $7 window, $8 hold, $9 to $11 room, $12 payment patience, $13 and $14 flags, $15 whether inventory and the waiting room have to be
-- told, $16 kind, $17 actor, $18 request, $19 reason, $20 the first of the skus that it changes, $21 how many, $22 the expected peak.
WITH changed AS (
    UPDATE sales s
    SET state = $3, name = $4, currency = $5, starts_at = $6, ends_at = $7, hold_ms = $8, room_rate = $9, room_admission_ms = $10,
        room_pre_queue_ms = $11, payment_patience_ms = $12, cancel_requested = $13, allow_shared_skus = $14,
        expected_peak_per_second = $22,
        version = s.version + 1,
        propagated_version = CASE WHEN $15::boolean THEN s.propagated_version ELSE s.version + 1 END,
        updated_at = now()
    FROM sales old
    WHERE s.sale_id = $1 AND s.version = $2 AND old.sale_id = s.sale_id
    RETURNING s.sale_id, s.version, to_jsonb(old) AS before, to_jsonb(s) AS after
)
INSERT INTO sale_changes (sale_id, version, kind, actor, request_id, reason, before, after, skus, skus_changed)
SELECT sale_id, version, $16, $17, $18, $19, before, after, $20, $21 FROM changed
