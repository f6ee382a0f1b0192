-- Makes a bucket if there is none, and decisions about it wait for each other. $1 endpoint, $2 what a new one holds.
INSERT INTO provider_budgets (endpoint, tokens) VALUES ($1, $2)
ON CONFLICT (endpoint) DO UPDATE SET endpoint = EXCLUDED.endpoint
