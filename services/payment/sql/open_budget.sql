-- Makes an endpoint's bucket, full. $1 endpoint, $2 its size.
INSERT INTO provider_budgets (endpoint, tokens)
VALUES ($1, $2)
ON CONFLICT (endpoint) DO NOTHING
