-- Sales that inventory and the waiting room do not know as they are, behind the sale $1 on (uses the index sales_to_propagate).
SELECT sale_id, version
FROM sales
WHERE propagated_version < version AND sale_id > $1
ORDER BY sale_id
LIMIT $2
