-- Puts a room in place that this server does not have: a new one, or one that was lost or kept by another server. It starts with a block
-- that Postgres has reserved for exactly this call, above every number that was ever handed out, so that none is handed out twice.
--
-- ARGV  1 version, 2 state, 3 rate, 4 admission_ms, 5 joins_ms, 6 admits_ms, 7 until_ms ('' for no bound), 8 the number before the block,
--       9 the last of the block, 10 the head in Postgres.
-- Reply RESTORED
-- Idempotent: a room that is there is left alone, and the block is skipped. Records of buyers and ticks that survived are kept. Numbers that
-- the head has passed and whose tick is lost count as admitted now.
local room = read_room()
if room then
  return reply('RESTORED', room)
end
local head = math.max(tonumber(ARGV[10]), tonumber(call('HGET', ROOM, 'head') or '0'))
call('HSET', ROOM, 'run_id', SERVER, 'version', ARGV[1], 'state', ARGV[2], 'rate', ARGV[3], 'admission_ms', ARGV[4],
  'joins_ms', ARGV[5], 'admits_ms', ARGV[6], 'until_ms', ARGV[7], 'next', ARGV[8], 'upto', ARGV[9],
  'planned', whole(head), 'head', whole(head), 'tick_ms', whole(NOW), 'carry', '0')
if head > 0 and #call('ZRANGEBYSCORE', TICKS, whole(head), '+inf', 'LIMIT', 0, 1) == 0 then
  add_tick(head)
end
return reply('RESTORED', read_room())
