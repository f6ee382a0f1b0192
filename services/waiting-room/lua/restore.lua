-- Puts a room in place that this server does not have whole: a new one, or one that was lost or kept by another server, or one of an era
-- that is over. It starts with a block that Postgres has reserved for exactly this call, above every number that was ever handed out, so
-- that none is handed out twice, and in an era of its own.
--
-- ARGV  1 version, 2 state, 3 rate, 4 admission_ms, 5 joins_ms, 6 admits_ms, 7 until_ms ('' for no bound), 8 paused_ms, 9 paused_at ('' for
--       none), 10 '1' if it watches the stock, 11 the number before the block, 12 the last of the block, 13 the head in Postgres, 14 the
--       era, then the ticks on record.
-- Reply RESTORED
-- Idempotent: a room of this era, or of a later one, is left alone, and the block is skipped. Records of buyers and ticks that survived are
-- kept. Numbers that the head has passed by a tick that is lost and not on record were passed long ago.
local room = read_room()
local era = tonumber(ARGV[14])
if room and room.era >= era then
  return reply('RESTORED', room)
end
local head = math.max(tonumber(ARGV[13]), tonumber(call('HGET', ROOM, 'head') or '0'))
call('HSET', ROOM, 'run_id', SERVER, 'version', ARGV[1], 'state', ARGV[2], 'rate', ARGV[3], 'admission_ms', ARGV[4],
  'joins_ms', ARGV[5], 'admits_ms', ARGV[6], 'until_ms', ARGV[7], 'paused_ms', ARGV[8], 'paused_at', ARGV[9], 'watches', ARGV[10],
  'next', ARGV[11], 'upto', ARGV[12], 'planned', whole(head), 'head', whole(head), 'era', whole(era), 'keys', '0', 'tick_ms', whole(NOW),
  'carry', '0')
-- Adds a tick, unless there is one from `from` on.
local function add_tick(tick, from, upto)
  if #call('ZRANGEBYSCORE', TICKS, from, upto, 'LIMIT', 0, 1) == 0 then
    call('ZADD', TICKS, from, tick)
  end
end
for i = 15, #ARGV do
  local passed = string.match(ARGV[i], '^%d+')
  add_tick(ARGV[i], passed, passed)
end
if head > 0 then
  add_tick(whole(head) .. ':0:0:0', whole(head), '+inf')
end
room = read_room()
seal(room)
return reply('RESTORED', room)
