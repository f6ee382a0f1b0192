-- A compare-and-set: of all who saw the same value one gets the block.
UPDATE rooms
SET reserved_upto = reserved_upto + $3
WHERE sale_id = $1 AND reserved_upto = $2
RETURNING reserved_upto
