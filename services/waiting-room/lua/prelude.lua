-- Shared by every script of the waiting room and put in front of it; in front of this stands what names the server: `local SERVER = '<run id>/<replication id>'`.
--
-- KEYS  1 room, 2 buyers, 3 ticks, 4 inventory's spent admissions (only read), 5 requests: always all of them, all of one sale.
-- Reply an array of texts: a word, then what the word brings, then, after every word but GONE, the room:
--       state, rate, '1' if it watches the stock, why its head holds and its stock (as plan.lua has left them), admission_ms, joins_ms,
--       admits_ms, until_ms ('' where there is no bound), era, paused_ms, next, upto, planned, head, version, this server's time in ms.
--       GONE  the room is missing, or lacks a key that it had, or was kept by another server, which may have known more; nothing was
--             done.
-- No script takes a deadline: one that runs long after its caller gave up names the number, the range or the version it is about, and
-- finds it settled.
local ROOM, BUYERS, TICKS, SPENT, REQUESTS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
-- The sale, as it stands in the names of its keys.
local SALE = string.match(ROOM, '{(.-)}')
local call = redis.call

local CLOCK = call('TIME')
local NOW = tonumber(CLOCK[1]) * 1000 + math.floor(tonumber(CLOCK[2]) / 1000)

-- Lua writes large numbers with an exponent unless told.
local function whole(number)
  return string.format('%.0f', number)
end

-- A number or, where there is none, ''.
local function optional(number)
  return number and whole(number) or ''
end

-- How many keys there are besides the room.
local function existing()
  return call('EXISTS', BUYERS, TICKS, REQUESTS)
end

-- The room, or nil for GONE.
local function read_room()
  local f = call('HMGET', ROOM, 'run_id', 'state', 'rate', 'admission_ms', 'next', 'upto', 'planned', 'head', 'version', 'tick_ms', 'carry',
    'joins_ms', 'admits_ms', 'until_ms', 'era', 'paused_ms', 'paused_at', 'keys', 'watches', 'hold', 'stock')
  -- A script leaves the number of the other keys in the room, so that a key evicted or deleted since is noticed. An instance from before
  -- that counts none, and may have made more.
  local keys = tonumber(f[18]) or 0
  if f[1] ~= SERVER or existing() < keys then
    return nil
  end
  -- How long the room has been paused so far, the present pause included.
  local paused_ms, paused_at = tonumber(f[16]) or 0, tonumber(f[17])
  if f[2] == 'PAUSED' and paused_at then
    paused_ms = paused_ms + math.max(0, NOW - paused_at)
  end
  return {
    state = f[2],
    rate = tonumber(f[3]),
    admission_ms = tonumber(f[4]),
    next = tonumber(f[5]),
    upto = tonumber(f[6]),
    planned = tonumber(f[7]),
    head = tonumber(f[8]),
    version = tonumber(f[9]),
    tick_ms = tonumber(f[10]),
    carry = tonumber(f[11]),
    -- The window: nil where a field is '' or, in a room that an older version put in place, missing.
    joins_ms = tonumber(f[12]),
    admits_ms = tonumber(f[13]),
    until_ms = tonumber(f[14]),
    -- How often it was put in place again.
    era = tonumber(f[15]) or 0,
    paused_ms = paused_ms,
    keys = keys,
    -- Missing in a room of an older version: it watches, and nothing is known yet.
    watches = f[19] ~= '0',
    hold = f[20] or '',
    stock = f[21] or '',
  }
end

-- To be called last by every script that may have made a key.
local function seal(room)
  local keys = existing()
  if keys ~= room.keys then
    call('HSET', ROOM, 'keys', keys)
  end
end

-- The reply: the word, the extra texts, the room.
local function reply(word, room, extra)
  local answer = { word }
  for _, text in ipairs(extra or {}) do
    answer[#answer + 1] = text
  end
  answer[#answer + 1] = room.state
  answer[#answer + 1] = string.format('%.17g', room.rate)
  answer[#answer + 1] = room.watches and '1' or '0'
  answer[#answer + 1] = room.hold
  answer[#answer + 1] = room.stock
  local names = { 'admission_ms', 'joins_ms', 'admits_ms', 'until_ms', 'era', 'paused_ms', 'next', 'upto', 'planned', 'head', 'version' }
  for _, name in ipairs(names) do
    answer[#answer + 1] = optional(room[name])
  end
  answer[#answer + 1] = whole(NOW)
  return answer
end

-- When the admissions end that a tick has given out. They live as long as they were given out for, whatever the room's settings say by
-- now, and as much longer as the room was paused since. A tick of the version before tells its time alone.
local function ends_ms(room, tick)
  local lifetime, paused, passed = string.match(tick, '^%d+:(%d+):(%d+):(%d+)$')
  if not passed then
    return tonumber(string.match(tick, ':(%d+)$')) + room.admission_ms
  end
  return tonumber(passed) + tonumber(lifetime) + math.max(0, room.paused_ms - tonumber(paused))
end

-- Whether the room's window is over: to be treated as closed, whether or not it has been closed yet.
local function is_over(room)
  return room.until_ms ~= nil and NOW >= room.until_ms
end

-- Whether the window lets the head move.
local function admits(room)
  return not is_over(room) and (room.admits_ms == nil or NOW >= room.admits_ms)
end

-- When the admission of a number runs out, in ms; nil while the head has not passed it. Whole seconds, rounded up, as the token says it.
local function expires_ms(room, number)
  if number > room.head then
    return nil
  end
  -- The first tick that passed the number. There is one for every number up to the head; if it was lost the admission is long over.
  local tick = call('ZRANGEBYSCORE', TICKS, whole(number), '+inf', 'LIMIT', 0, 1)[1]
  return math.ceil((tick and ends_ms(room, tick) or 0) / 1000) * 1000
end

-- A buyer's record: number, generation and state; nil if there is none.
local function record_of(buyer)
  local text = call('HGET', BUYERS, buyer)
  if not text then
    return nil
  end
  local number, generation, state = string.match(text, '^(%d+)|(%d+)|(%u+)$')
  return { number = tonumber(number), generation = tonumber(generation), state = state }
end

-- Writes down a buyer's place.
local function keep_record(buyer, number, generation, state)
  call('HSET', BUYERS, buyer, whole(number) .. '|' .. whole(generation) .. '|' .. state)
end

-- How many generations an era has.
local PER_ERA = 65536

-- Whether a place is later than another of the same buyer: by its era, and within one by its number.
local function is_later(place, other)
  local eras = math.floor(place.generation / PER_ERA) - math.floor(other.generation / PER_ERA)
  if eras ~= 0 then
    return eras > 0
  end
  return place.number > other.number
end

-- The record of the buyer of a good ticket. Where it is missing, or of an earlier place than the ticket's, it was lost: the ticket shows
-- that its place was given out, and the place is kept again. Not one of a later era: this server was overtaken.
local function record_by_ticket(room, buyer, number, generation)
  local known, shown = record_of(buyer), { number = number, generation = generation, state = 'WAITING' }
  if known and not is_later(shown, known) or number > room.next or math.floor(generation / PER_ERA) > room.era then
    return known
  end
  keep_record(buyer, number, generation, shown.state)
  seal(room)
  return shown
end

-- Whether the admission of a place that the head has passed was spent.
local function is_spent(number, generation)
  local id = redis.sha1hex(SALE .. ':' .. whole(number) .. ':' .. whole(generation))
  return call('HEXISTS', SPENT, id) == 1
end
