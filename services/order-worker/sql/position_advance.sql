-- Compare-and-set. The row lock also lets one claimer at a time into the claims' transaction.
UPDATE queue_positions
SET stream_created = $4, seq = $5, updated_at = now()
WHERE stream = $1 AND stream_created = $2 AND seq = $3
