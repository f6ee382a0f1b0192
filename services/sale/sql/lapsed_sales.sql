-- Open sales whose window has passed, by the store's clock.
SELECT sale_id
FROM sales
WHERE state = 'OPEN' AND ends_at <= now()
ORDER BY ends_at
LIMIT $1
