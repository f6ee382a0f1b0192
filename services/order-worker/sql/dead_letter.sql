SELECT dead_letter_id, seq, reason, order_id, sale_id, at, review_by, resolution, resolved_at, payload
FROM dead_letters
WHERE dead_letter_id = $1
