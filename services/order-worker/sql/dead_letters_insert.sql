-- A dead letter about an order that has one already takes its place and its deadline. The same message read once more, after the position went
-- back, changes nothing. $7 the time to decide, in milliseconds.
WITH letter AS (
    SELECT l.*
    FROM UNNEST($3::bigint[], $4::bytea[], $5::text[], $6::uuid[], $8::uuid[]) AS l (seq, payload, reason, order_id, sale_id)
    WHERE NOT EXISTS (
        SELECT FROM dead_letters d WHERE d.stream = $1 AND d.stream_created = $2 AND d.seq = l.seq
    )
), earlier AS (
    UPDATE dead_letters d
    SET resolved_at = now(), resolution = 'RETRIED'
    FROM letter
    WHERE d.order_id = letter.order_id AND d.resolved_at IS NULL
    RETURNING d.order_id, d.review_by
)
INSERT INTO dead_letters (stream, stream_created, seq, payload, reason, order_id, sale_id, review_by)
SELECT $1, $2, letter.seq, letter.payload, letter.reason, letter.order_id, letter.sale_id,
    COALESCE(
        (SELECT min(review_by) FROM earlier WHERE earlier.order_id = letter.order_id),
        now() + $7::bigint * interval '1 millisecond'
    )
FROM letter
ON CONFLICT (stream, stream_created, seq) DO NOTHING
