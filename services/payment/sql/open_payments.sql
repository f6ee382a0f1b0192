-- How many payments are open and when the oldest of them was recorded.
SELECT count(*) AS "open!", min(created_at) AS oldest
FROM payments
WHERE state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
