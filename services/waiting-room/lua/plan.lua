-- Spends what has built up of the rate, by this server's clock, on moving the plan for the head. However many instances call it and how
-- often, together they spend no more than the rate and one burst. Outside the room's window nothing is spent, and the time before its
-- opening builds nothing up: the budget begins with it, whenever the last call was.
--
-- Before that it takes in what inventory and checkout have told the caller. Of each the newest answer counts for all instances, by this
-- server's clock at the time of asking, until it is too old. Unless the room watches neither, the head holds while one of them says no, and
-- while one of them says nothing. The time until the answers that end a hold were asked for is not made up for, once and not per instance.
--
-- ARGV  1 the burst in ms: what builds up at most, 2 how long an answer counts in ms, 3 what inventory has: AVAILABLE, TAKEN (some may come
--       back) or GONE ('' if the caller knows nothing), 4 how long ago it was asked in ms, 5 what checkout does: ACCEPTS or REFUSES (''
--       likewise), 6 how long ago it was asked in ms.
-- Reply PLANNED
-- It leaves in the room the stock that counts ('' if unknown), and why the head holds though the room is open: REFUSED, or INVENTORY or
-- CHECKOUT if that is silent ('' if it does not hold).
-- The head itself follows once the plan is in Postgres (publish.lua). The plan never runs further ahead of the head than one burst, so
-- that a Postgres that was away is not followed by a flood.

-- A sum this little below a whole number counts as whole: rounding must not put off what is due.
local ROUNDING = 1e-9

local room = read_room()
if not room then
  return { 'GONE' }
end

-- The newer of the room's answer and the caller's, and when it was asked for; '' in place of one that counts no more.
local function newest(known, known_ms, brought, age_ms)
  if brought ~= '' then
    local asked_ms = NOW - tonumber(age_ms)
    -- An answer of a later time than now is from before the clock was set back.
    if not known_ms or asked_ms > known_ms or known_ms > NOW then
      known, known_ms = brought, asked_ms
    end
  end
  if not known_ms or known_ms > NOW or NOW - known_ms > tonumber(ARGV[2]) then
    known = ''
  end
  return known, known_ms
end

local answers = call('HMGET', ROOM, 'stock_ms', 'intake', 'intake_ms')
local stock, stock_ms = newest(room.stock, tonumber(answers[1]), ARGV[3], ARGV[4])
local intake, intake_ms = newest(answers[2] or '', tonumber(answers[3]), ARGV[5], ARGV[6])
if not room.watches then
  stock = ''
end

local opened = room.state == 'OPEN' and admits(room)
local hold = ''
if opened and room.watches then
  if stock == 'TAKEN' or stock == 'GONE' or intake == 'REFUSES' then
    hold = 'REFUSED'
  elseif stock == '' then
    hold = 'INVENTORY'
  elseif intake == '' then
    hold = 'CHECKOUT'
  end
end

local carry, planned = 0, room.planned
if opened and hold ~= '' then
  -- The part of the next buyer that has built up stays: answers that contradict each other must not put it off for ever.
  carry = room.carry - math.floor(room.carry)
end
if opened and hold == '' then
  local since_ms, carried = room.tick_ms, room.carry
  if room.admits_ms and since_ms < room.admits_ms then
    since_ms, carried = room.admits_ms, 0
  end
  if room.hold ~= '' and room.watches then
    since_ms = math.max(since_ms, stock_ms, intake_ms)
  end
  local elapsed_ms = math.max(0, NOW - since_ms)
  local most = math.max(1, room.rate * tonumber(ARGV[1]) / 1000)
  local budget = math.min(carried + room.rate * elapsed_ms / 1000, most)
  local bound = math.min(room.next, room.head + math.floor(most))
  local step = math.max(0, math.min(math.floor(budget + ROUNDING), bound - planned))
  planned, carry = planned + step, math.max(0, budget - step)
end
room.planned, room.hold, room.stock = planned, hold, stock
call('HSET', ROOM, 'planned', whole(planned), 'carry', string.format('%.17g', carry), 'tick_ms', whole(NOW), 'hold', hold,
  'stock', stock, 'stock_ms', optional(stock_ms), 'intake', intake, 'intake_ms', optional(intake_ms))
return reply('PLANNED', room)
