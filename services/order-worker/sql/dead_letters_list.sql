-- Newest first, from behind $3. $1 only of this sale, $2 also those that are resolved, $4 how many at most.
SELECT dead_letter_id, seq, reason, order_id, sale_id, at, review_by, resolution, resolved_at
FROM dead_letters
WHERE ($1::uuid IS NULL OR sale_id = $1)
    AND ($2 OR resolved_at IS NULL)
    AND ($3::bigint IS NULL OR dead_letter_id < $3)
ORDER BY dead_letter_id DESC
LIMIT $4
