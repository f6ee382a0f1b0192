-- How many captures on intents that no payment names were given back in the last hour.
SELECT count(*) AS "count!" FROM refunds WHERE reason = 'orphan' AND created_at > now() - interval '1 hour'
