-- Compare-and-set of the state: only as long as the sale is as it was read. $4: inventory and the waiting room have to be told.
UPDATE sales
SET state = $3,
    version = version + 1,
    propagated_version = CASE WHEN $4::boolean THEN propagated_version ELSE version + 1 END,
    updated_at = now()
WHERE sale_id = $1 AND version = $2
