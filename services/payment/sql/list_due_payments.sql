-- Open payments in the order in which they are due. $1 sale, null for all, $2 states, $3 the fewest failures, $4 of those in DUE only the ones that
-- have been taken up, or have not; null for both, $5 and $6 when the one before the page is due and its order, $7 due before, $8 how many.
SELECT order_id, due_at AS at FROM payments
WHERE state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION') AND state = ANY($2) AND due_at < $7
    AND ($1::uuid IS NULL OR sale_id = $1)
    AND failures >= $3 AND ($4::boolean IS NULL OR state <> 'DUE' OR (attempts > 0) = $4)
    AND (due_at, order_id) > ($5, $6)
ORDER BY due_at, order_id
LIMIT $8
