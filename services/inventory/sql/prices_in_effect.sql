-- The revisions of a sale's prices after the first that have taken effect.
SELECT revision AS "revision!" FROM price_revisions_in_effect($1) AS revision
