-- A compare-and-set: of all who saw the same value in the present era one gets the block.
UPDATE rooms
SET reserved_upto = reserved_upto + $4
WHERE sale_id = $1 AND era = $2 AND reserved_upto = $3
RETURNING reserved_upto
