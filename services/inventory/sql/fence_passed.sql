-- Whether the claims have come past the marker of this epoch or of a later one.
SELECT EXISTS (SELECT FROM stock_fences WHERE sale_id = $1 AND epoch >= $2) AS "passed!"
