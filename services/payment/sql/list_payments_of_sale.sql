-- Payments of one sale newest first. $1 sale, $2 states, $3 the fewest failures, $4 of those in DUE only the ones that have been taken up, or have
-- not; null for both, $5 and $6 when the one before the page was recorded and its order, $7 how many.
SELECT listed.order_id AS "order_id!", listed.created_at AS "at!"
FROM (
    (
        SELECT order_id, created_at FROM payments
        WHERE sale_id = $1 AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION') AND state = ANY($2)
            AND $2 && ARRAY['DUE', 'PROCESSING', 'REQUIRES_ACTION']
            AND failures >= $3 AND ($4::boolean IS NULL OR state <> 'DUE' OR (attempts > 0) = $4)
            AND (created_at, order_id) < ($5, $6)
        ORDER BY created_at DESC, order_id DESC
        LIMIT $7
    )
    UNION ALL
    (
        SELECT order_id, created_at FROM payments
        WHERE sale_id = $1 AND state IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'REFUNDED') AND state = ANY($2)
            AND failures >= $3 AND (created_at, order_id) < ($5, $6)
        ORDER BY created_at DESC, order_id DESC
        LIMIT $7
    )
) AS listed
ORDER BY listed.created_at DESC, listed.order_id DESC
LIMIT $7
