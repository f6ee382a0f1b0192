-- Copies a room's settings from its row in Postgres.
--
-- ARGV  1 the row's version, 2 state, 3 rate, 4 admission_ms, 5 joins_ms, 6 admits_ms, 7 until_ms ('' for no bound), 8 how long all pauses were
--       that are over in ms, 9 since when the present one lasts in ms ('' for none), 10 '1' if it watches the stock.
-- Reply CONFIGURED
-- Idempotent: an older version never replaces a newer one, whatever order the calls arrive in.
local room = read_room()
if not room then
  return { 'GONE' }
end
local version = tonumber(ARGV[1])
if version > room.version then
  if room.state ~= ARGV[2] then
    -- The time in which no buyer was admitted is not made up for.
    call('HSET', ROOM, 'tick_ms', whole(NOW), 'carry', '0')
  end
  call('HSET', ROOM, 'version', ARGV[1], 'state', ARGV[2], 'rate', ARGV[3], 'admission_ms', ARGV[4])
end
-- Also for the version that is there: an instance from before these settings copies a row without them.
if version >= room.version then
  call('HSET', ROOM, 'joins_ms', ARGV[5], 'admits_ms', ARGV[6], 'until_ms', ARGV[7])
  call('HSET', ROOM, 'paused_ms', ARGV[8], 'paused_at', ARGV[9], 'watches', ARGV[10])
  room = read_room()
end
return reply('CONFIGURED', room)
