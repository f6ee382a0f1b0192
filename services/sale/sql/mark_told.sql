-- Inventory and the waiting room know version $2. Touches no row if the sale has changed since.
UPDATE sales
SET propagated_version = version
WHERE sale_id = $1 AND version = $2
