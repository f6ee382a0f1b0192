-- Keeps a server from being confirmed until the transaction ends: without that a beat and a raise could miss each other.
SELECT beats, coalesce(retired_at >= clock_timestamp() - interval '30 seconds', false) AS "retired!" FROM redis_servers WHERE server = $1 FOR UPDATE
