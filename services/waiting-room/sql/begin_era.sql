-- A compare-and-set on era and numbers: of all who put the room in place one gets the era and its block. The first time nothing was
-- lost, and the era stays. A room that another server keeps is left to it as long as that beats and was not retired: the rule by which
-- the server that counts for stock is found.
UPDATE rooms
SET reserved_upto = reserved_upto + $4, server = $5, era = era + CASE WHEN reserved_upto > 0 THEN 1 ELSE 0 END
WHERE sale_id = $1 AND era = $2 AND reserved_upto = $3
  AND (server = $5 OR NOT EXISTS (
      SELECT FROM redis_servers s
      WHERE s.server = rooms.server AND s.retired_at IS NULL AND s.seen_at > clock_timestamp() - interval '3150 milliseconds'
  ))
RETURNING sale_id, state, rate, admission_ms, joins_from, admits_from, admits_until, watches_stock, reserved_upto, head,
    era, paused_ms, paused_at,
    (extract(epoch FROM updated_at) * 1000000)::bigint AS "version!"
