UPDATE rooms
SET head = GREATEST(head, $2)
WHERE sale_id = $1
RETURNING head
