-- Payments newest first, of all sales. Each state that payments end in is looked at by itself, along its index. $1 states, $2 the fewest failures,
-- $3 of those in DUE only the ones that have been taken up, or have not; null for both, $4 and $5 when the one before the page was recorded and
-- its order, $6 how many.
SELECT listed.order_id AS "order_id!", listed.created_at AS "at!"
FROM (
    (
        SELECT order_id, created_at FROM payments
        WHERE state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION') AND state = ANY($1)
            AND $1 && ARRAY['DUE', 'PROCESSING', 'REQUIRES_ACTION']
            AND failures >= $2 AND ($3::boolean IS NULL OR state <> 'DUE' OR (attempts > 0) = $3)
            AND (created_at, order_id) < ($4, $5)
        ORDER BY created_at DESC, order_id DESC
        LIMIT $6
    )
    UNION ALL
    (
        SELECT ended.order_id, ended.created_at
        FROM unnest($1::text[]) AS wanted (state)
        CROSS JOIN LATERAL (
            SELECT order_id, created_at FROM payments
            WHERE state = wanted.state AND state IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'REFUNDED')
                AND failures >= $2 AND (created_at, order_id) < ($4, $5)
            ORDER BY created_at DESC, order_id DESC
            LIMIT $6
        ) AS ended
    )
) AS listed
ORDER BY listed.created_at DESC, listed.order_id DESC
LIMIT $6
