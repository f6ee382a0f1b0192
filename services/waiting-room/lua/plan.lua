-- Spends what has built up of the rate, by this server's clock, on moving the plan for the head. However many instances call it and how
-- often, together they spend no more than the rate and one burst. Outside the room's window nothing is spent, and the time before its
-- opening builds nothing up: the budget begins with it, whenever the last call was.
--
-- ARGV  1 the burst in ms: what builds up at most, 2 '1' if there is something to be admitted for.
-- Reply PLANNED
-- The head itself follows once the plan is in Postgres (publish.lua). The plan never runs further ahead of the head than one burst, so
-- that a Postgres that was away is not followed by a flood.

-- A sum this little below a whole number counts as whole: rounding must not put off what is due.
local ROUNDING = 1e-9

local room = read_room()
if not room then
  return { 'GONE' }
end
local carry, planned = 0, room.planned
if room.state == 'OPEN' and ARGV[2] == '1' and admits(room) then
  local since_ms, carried = room.tick_ms, room.carry
  if room.admits_ms and since_ms < room.admits_ms then
    since_ms, carried = room.admits_ms, 0
  end
  local elapsed_ms = math.max(0, NOW - since_ms)
  local most = math.max(1, room.rate * tonumber(ARGV[1]) / 1000)
  local budget = math.min(carried + room.rate * elapsed_ms / 1000, most)
  local bound = math.min(room.next, room.head + math.floor(most))
  local step = math.max(0, math.min(math.floor(budget + ROUNDING), bound - planned))
  planned, carry = planned + step, math.max(0, budget - step)
end
room.planned = planned
call('HSET', ROOM, 'planned', whole(planned), 'carry', string.format('%.17g', carry), 'tick_ms', whole(NOW))
return reply('PLANNED', room)
