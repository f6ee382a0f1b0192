-- How many payments are compared. $1 of one sale or of all, $2 recorded since when.
SELECT (
    SELECT count(*) FROM payments
    WHERE state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION') AND created_at >= $2 AND ($1::uuid IS NULL OR sale_id = $1)
) + (
    SELECT count(*) FROM payments
    WHERE state IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'REFUNDED') AND created_at >= $2 AND ($1::uuid IS NULL OR sale_id = $1)
) AS "count!"
