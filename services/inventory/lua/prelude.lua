-- Shared by every script of inventory and put in front of it. In front of this stands a line that
-- names the server: `local SERVER = '<run id>/<replication id>'`.
--
-- KEYS  1 meta, 2 stock, 3 holds, 4 deadlines, 5 pending, 6 orders, 7 requests, 8 buyers, 9 spent:
--       always all of them, all of one sale. reserve.lua has one more behind them, which is the
--       waiting room's and no part of the stock.
-- ARGV  1 the epoch the caller expects, 2 the caller's deadline in ms of this server's clock; a
--       script's own begin at 3.
-- Reply an array: a word, this server's time in ms, then the values of the word. Words that any
--       script may answer:
--       FENCED    the keys are missing, incomplete, of another epoch or of another server; nothing
--                 was done
--       TOO_LATE  the deadline has passed; nothing was done
local META, STOCK, HOLDS, DEADLINES, PENDING = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local ORDERS, REQUESTS, BUYERS, SPENT = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local FIRST = 3
local call = redis.call

-- How many of the stock's keys exist.
local function existing()
  return call('EXISTS', unpack(KEYS, 1, 9))
end

local CLOCK = call('TIME')
local NOW = tonumber(CLOCK[1]) * 1000 + math.floor(tonumber(CLOCK[2]) / 1000)

-- The sale's rules, read by guard().
local STATE, STARTS, ENDS, HOLD_MS, ROOM, CURRENCY, MAX_TOTAL
-- Whether its window has begun, and passed. What the record knew of that when the stock was loaded stays so, if this server's clock is
-- behind.
local BEGUN, OVER
-- The revision of the prices that is to come, if there is one, with its time, and whether that has
-- switched. `COMING` is what its fields in the stock begin with, once it has: it then goes before
-- the present one, which stands in `m:`, `l:` and `g:`.
local NEXT, NEXT_MS, SWITCHED, COMING
-- That it has switched stands in `meta`: a clock that is set back does not undo it.
local LATCHED
-- How many of the keys there were when the last script left them.
local KEY_COUNT

-- The fence and the deadline. Answers a refusal, or nil when the script may go on.
-- A script leaves the number of existing keys in meta, so that a key evicted or deleted since is
-- noticed: otherwise a lost `holds` would let a retry take units twice.
local function guard()
  local meta = call('HMGET', META, 'epoch', 'run_id', 'keys', 'state', 'starts_ms', 'ends_ms', 'hold_ms', 'room', 'currency', 'max_total',
    'begun', 'over', 'next_ms')
  KEY_COUNT = tonumber(meta[3] or '-1')
  if meta[1] ~= ARGV[1] or meta[2] ~= SERVER or KEY_COUNT ~= existing() then
    return { 'FENCED', NOW }
  end
  if NOW > tonumber(ARGV[2]) then
    return { 'TOO_LATE', NOW }
  end
  STATE, STARTS, ENDS, HOLD_MS = meta[4], tonumber(meta[5]), tonumber(meta[6]), tonumber(meta[7])
  ROOM, CURRENCY = meta[8] == '1', meta[9]
  -- Stock that an older version has loaded has none.
  MAX_TOTAL = meta[10] and tonumber(meta[10]) or math.huge
  BEGUN, OVER = meta[11] == '1' or NOW >= STARTS, meta[12] == '1' or NOW >= ENDS
  NEXT_MS = meta[13]
  if NEXT_MS then
    local coming = call('HMGET', META, 'next_rev', 'switched')
    NEXT, LATCHED = coming[1], coming[2] == '1'
    SWITCHED = LATCHED or NOW >= tonumber(NEXT_MS)
    COMING = SWITCHED and 'n:' .. NEXT .. ':'
  end
end

-- The revision of the prices that stand in `m:`, `l:` and `g:`.
local function present_revision()
  return call('HGET', META, 'rev') or '1'
end

-- To be called last by every script that writes.
local function seal()
  if SWITCHED and not LATCHED then
    call('HSET', META, 'switched', '1')
  end
  local count = existing()
  if count ~= KEY_COUNT then
    call('HSET', META, 'keys', count)
  end
end

-- HOLD: replayed (0 or 1), hold id, the hold as stored, what its order carries ('' if nothing), the
-- currency.
local function hold_reply(replayed, id, json)
  return { 'HOLD', NOW, replayed, id, json, call('HGET', ORDERS, id) or '', CURRENCY }
end

-- Whether the hold has exactly these lines; a line begins with its sku and quantity, and each sku
-- stands once.
local function has_lines(hold, lines)
  local units, count = {}, 0
  for _, line in ipairs(hold.l) do
    units[line[1]], count = line[2], count + 1
  end
  for _, line in ipairs(lines) do
    if units[line[1]] ~= line[2] then
      return false
    end
  end
  return count == #lines
end

-- Whether it was this request that took the hold. Such a request has the hold's id as its key,
-- which identifies the sale and the buyer, and only the hold remembers it: if it also placed the
-- hold, it made an order with that id, otherwise it was a reservation of these lines.
local function took(id, hold, operation, hash, lines)
  if hold.o == id then
    return operation == 'place' and hold.h == hash
  end
  return operation == 'reserve' and has_lines(hold, lines)
end

-- What a request id did before. Answers HOLD with the hold as it is now, or REUSED when it was sent
-- with another operation or other content; nil when it is new.
local function replay(operation, request, hash)
  local known = call('HGET', REQUESTS, request)
  if known then
    local mark = operation .. '|' .. hash .. '|'
    if string.sub(known, 1, #mark) ~= mark then
      return { 'REUSED', NOW }
    end
    local id = string.sub(known, #mark + 1)
    return hold_reply(1, id, call('HGET', HOLDS, id))
  end
  local json = call('HGET', HOLDS, request)
  if not json then
    return nil
  end
  -- A reservation is not asked for here.
  if took(request, cjson.decode(json), operation, hash, nil) then
    return hold_reply(1, request, json)
  end
  return { 'REUSED', NOW }
end

-- Of a request that took no hold but changed one.
local function remember(operation, request, hash, id)
  if request ~= id then
    call('HSET', REQUESTS, request, operation .. '|' .. hash .. '|' .. id)
  end
end

-- The buyer's hold: id and record, or nil and NO_HOLD.
local function find(id, buyer)
  local json = call('HGET', HOLDS, id)
  local hold = json and cjson.decode(json)
  if not hold or hold.b ~= buyer then
    return nil, { 'NO_HOLD', NOW }
  end
  return hold
end

-- Gives the hold the order that it carries. The fields of a hold are in docs/stores.md.
local function give_order(hold, state, order, placed, request_id, hash)
  hold.s, hold.o, hold.p, hold.q, hold.h = state, order, placed, request_id, hash
end

-- A hold is never empty and never has an empty list in it, which cjson would write as an object;
-- its numbers have at most 14 digits, which cjson writes exactly.
local function store(id, hold)
  local json = cjson.encode(hold)
  call('HSET', HOLDS, id, json)
  return json
end

-- Moves the hold's units from one column of the books to another.
local function move(hold, from, to)
  for _, line in ipairs(hold.l) do
    call('HINCRBY', STOCK, from .. ':' .. line[1], -line[2])
    call('HINCRBY', STOCK, to .. ':' .. line[1], line[2])
  end
end

-- Puts the hold's units back on sale, also within its buyer's limit.
local function give_back(hold, from)
  move(hold, from, 'a')
  for _, line in ipairs(hold.l) do
    call('HINCRBY', BUYERS, line[1] .. '\31' .. hold.b, -line[2])
  end
end
