-- Makes buckets, full. $1 endpoints, $2 their sizes.
INSERT INTO provider_budgets (endpoint, tokens)
SELECT endpoint, size FROM unnest($1::text[], $2::double precision[]) AS made (endpoint, size)
ORDER BY endpoint
ON CONFLICT (endpoint) DO NOTHING
