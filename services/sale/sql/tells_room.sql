-- Whether the waiting room of sale $1 has to be told of the versions behind $2 up to $3: of all but those that change prices and limits alone,
-- which it does not know. A version without a row in the history was made by an instance that does not write it.
SELECT count(*) < $3::bigint - $2::bigint AS "tells!"
FROM sale_changes
WHERE sale_id = $1 AND version > $2 AND version <= $3 AND skus_changed > 0
    AND before - '{version,propagated_version,updated_at}'::text[] = after - '{version,propagated_version,updated_at}'::text[]
