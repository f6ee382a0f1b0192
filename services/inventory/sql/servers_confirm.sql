-- A beat. $1 the servers that this instance has just written at, in their own order, which is the order their rows are locked in.
-- A server that was retired by a takeover is not confirmed for 30 s: if no other server serves by then, it counts again.
INSERT INTO redis_servers AS r (server, beats)
SELECT server, 1 FROM unnest($1::text[]) AS confirmed (server) ORDER BY server
ON CONFLICT (server) DO UPDATE SET beats = r.beats + 1, seen_at = clock_timestamp()
WHERE r.retired_at IS NULL OR r.retired_at < clock_timestamp() - interval '30 seconds'
RETURNING server
