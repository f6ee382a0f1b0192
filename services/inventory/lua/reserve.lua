-- Takes units, each request for its own buyer, all its lines or none, and holds or places them. A
-- refusal writes nothing.
--
-- The requests of a batch share the cost of a run. Everything that they may need is read first,
-- then each is decided in turn on what those before it have left, and all results are written last.
-- A hold is concatenated from texts that inventory has encoded (src/store/stored_hold.rs): writing
-- it with cjson was a fifth of the script's time. The fields are those of every hold, in an order
-- of their own.
--
-- KEYS  10 the places in the sale's waiting room, 11 the room: the waiting room's (only read)
-- ARGV  1 epoch, 2 the latest of the requests' deadlines, 3 the highest total of any sale in minor
--       units, then the requests, whose parts are named below
-- Reply TAKEN and per request a list: HOLD and its values (see prelude); TOO_LATE; REUSED; NOT_OPEN
--       state, starts_ms, ends_ms; ADMISSION verdict; SPENT hold id; WITHDRAWN; NO_SKU sku; LIMIT
--       sku, limit, units the buyer has, requested; SOLD_OUT sku, available, requested; TOO_MUCH
--       the highest total, currency; PRICE the total expected, the total, currency; or for all:
--       FENCED; TOO_LATE
local refusal = guard()
if refusal then
  return refusal
end
local highest = math.min(tonumber(ARGV[3]), MAX_TOTAL)
local first_request = 4

-- Offsets of a request's parts: its own deadline; `reserve` or `place`; the derived request key,
-- which becomes the hold's id; the content hash; the verdict on the admission (`ok`, `required`,
-- `invalid`, `foreign`, `expired`, `unverified`), the admission's id or '', and the hold's field
-- with it as JSON; the number and the generation of the admission's place, or ''; the buyer; the
-- order's details for `place`; the total that is expected with its currency behind a comma, or '';
-- the beginning of the hold as JSON; the number of lines.
local DUE, OPERATION, ID, HASH, VERDICT, ADMISSION, ADMISSION_JSON = 0, 1, 2, 3, 4, 5, 6
local NUMBER, GENERATION, BUYER, DETAILS, EXPECTED, HEAD, COUNT = 7, 8, 9, 10, 11, 12, 13
local LINES = 14
-- Offsets of a line's parts: the sku, each once; the field of the buyer's units of it; the
-- quantity; the line as JSON up to its price.
local SKU, SHARE, QUANTITY, LINE_JSON = 0, 1, 2, 3
local WIDTH = 4

local function lines_of(i)
  return i + LINES, i + LINES + WIDTH * tonumber(ARGV[i + COUNT]) - 1
end

local requests, ids, admissions, buyers, columns, shares = {}, {}, {}, {}, {}, {}
do
  local i, seen = first_request, {}
  while i <= #ARGV do
    local n = #requests + 1
    requests[n], ids[n], admissions[n], buyers[n] = i, ARGV[i + ID], ARGV[i + ADMISSION], ARGV[i + BUYER]
    local first, last = lines_of(i)
    for j = first, last, WIDTH do
      shares[#shares + 1] = ARGV[j + SHARE]
      local sku, k = ARGV[j + SKU], #columns
      if not seen[sku] then
        seen[sku] = true
        columns[k + 1], columns[k + 2], columns[k + 3] = 'a:' .. sku, 'h:' .. sku, 'p:' .. sku
        columns[k + 4], columns[k + 5] = 'l:' .. sku, 'm:' .. sku
        if COMING then
          columns[k + 6] = COMING .. sku
        end
      end
    end
    i = last + 1
  end
end

local function read(key, fields)
  local values, found = call('HMGET', key, unpack(fields)), {}
  for n = 1, #fields do
    found[fields[n]] = values[n]
  end
  return found
end
local holds, known = read(HOLDS, ids), read(REQUESTS, ids)
local books, has = read(STOCK, columns), read(BUYERS, shares)
local spent = ROOM and read(SPENT, admissions) or {}
local places = ROOM and read(KEYS[10], buyers) or {}
local era = ROOM and tonumber(call('HGET', KEYS[11], 'era') or 0) or 0

-- What is to be written: fields and values of hashes, scores and members of sorted sets, and the
-- fields whose new value stands in `books` and `has`.
local to_holds, to_orders, to_spent, to_deadlines, to_pending = {}, {}, {}, {}, {}
local of_books, of_has = {}, {}
-- What the orders placed in this run carry.
local carried = {}
-- Numbers as texts, once: Redis formats a number again each time it is passed one.
local NOW_TEXT, EXPIRES_TEXT = string.format('%d', NOW), string.format('%d', NOW + HOLD_MS)

local function add(list, one, two)
  local n = #list
  list[n + 1] = one
  list[n + 2] = two
end

local function hold_of(replayed, id)
  return { 'HOLD', replayed, id, holds[id], carried[id] or (replayed == 1 and call('HGET', ORDERS, id)) or '', CURRENCY }
end

-- What a unit of a sku costs, how many a buyer may have, and how a line at that price ends.
local function terms(sku)
  local coming = COMING and books[COMING .. sku]
  if coming then
    local price, limit, revision = string.match(coming, '^(%d+)|(%d+)|%d*|(%d+)$')
    return tonumber(price), tonumber(limit), price .. ',' .. revision
  end
  local cost = books['m:' .. sku]
  -- After the first revision of a price its number stands behind it.
  return tonumber(cost) or tonumber(string.match(cost, '^%d+')), tonumber(books['l:' .. sku]), cost
end

-- Whether the place of the request's admission was left, or the buyer has taken a later one. The
-- order of places is that of the room's eras, of which each has 65,536 generations, and within one
-- that of their numbers. A room that was lost and put in place again begins an era without records:
-- which of a buyer's places of before counts, their newest ticket says, not this admission.
local function withdrawn(i)
  local place, era_of_it = places[ARGV[i + BUYER]], math.floor(ARGV[i + GENERATION] / 65536)
  if not place then
    return era_of_it < era
  end
  local number, generation, state = string.match(place, '^(%d+)|(%d+)|(%u+)')
  local newer = math.floor(generation / 65536) - era_of_it
  if newer == 0 then
    newer = tonumber(number) - tonumber(ARGV[i + NUMBER])
  end
  return newer > 0 or newer == 0 and state == 'LEFT'
end

-- Why nothing is taken; or nil, and the lines as JSON with their prices.
local function refused(i)
  if STATE ~= 'OPEN' or not BEGUN or OVER then
    return { 'NOT_OPEN', STATE, STARTS, ENDS }
  end
  if ROOM then
    if ARGV[i + VERDICT] ~= 'ok' then
      return { 'ADMISSION', ARGV[i + VERDICT] }
    end
    local spent_by = spent[ARGV[i + ADMISSION]]
    if spent_by and spent_by ~= ARGV[i + ID] then
      return { 'SPENT', spent_by }
    end
    if withdrawn(i) then
      return { 'WITHDRAWN' }
    end
  end
  local first, last = lines_of(i)
  for j = first, last, WIDTH do
    if not books['a:' .. ARGV[j + SKU]] then
      return { 'NO_SKU', ARGV[j + SKU] }
    end
  end
  local total, json = 0, ''
  for j = first, last, WIDTH do
    local sku, quantity = ARGV[j + SKU], tonumber(ARGV[j + QUANTITY])
    local price, limit, cost = terms(sku)
    local mine = tonumber(has[ARGV[j + SHARE]] or 0)
    if limit > 0 and mine + quantity > limit then
      return { 'LIMIT', sku, limit, mine, quantity }
    end
    total = total + quantity * price
    json = json .. (j == first and '' or ',') .. ARGV[j + LINE_JSON] .. cost .. ']'
  end
  for j = first, last, WIDTH do
    local available, quantity = tonumber(books['a:' .. ARGV[j + SKU]]), tonumber(ARGV[j + QUANTITY])
    if available < quantity then
      return { 'SOLD_OUT', ARGV[j + SKU], available, quantity }
    end
  end
  if total > highest then
    return { 'TOO_MUCH', highest, CURRENCY }
  end
  if ARGV[i + EXPECTED] ~= '' and ARGV[i + EXPECTED] ~= string.format('%.0f,%s', total, CURRENCY) then
    return { 'PRICE', ARGV[i + EXPECTED], total, CURRENCY }
  end
  return nil, json
end

local function take(i, lines)
  local id, column = ARGV[i + ID], 'h:'
  local json = ARGV[i + HEAD] .. ',"d":' .. EXPIRES_TEXT .. ',"t":' .. NOW_TEXT .. ',"l":[' .. lines .. ']'
  if ARGV[i + OPERATION] == 'place' then
    column = 'p:'
    json = json .. ',"p":' .. NOW_TEXT
    carried[id] = ARGV[i + DETAILS]
    add(to_orders, id, carried[id])
    add(to_pending, NOW_TEXT, id)
  else
    add(to_deadlines, EXPIRES_TEXT, id)
  end
  if ROOM then
    json = json .. ',' .. ARGV[i + ADMISSION_JSON]
    spent[ARGV[i + ADMISSION]] = id
    add(to_spent, ARGV[i + ADMISSION], id)
  end
  local first, last = lines_of(i)
  for j = first, last, WIDTH do
    local quantity, share = tonumber(ARGV[j + QUANTITY]), ARGV[j + SHARE]
    local from, to = 'a:' .. ARGV[j + SKU], column .. ARGV[j + SKU]
    books[from], books[to] = books[from] - quantity, books[to] + quantity
    of_books[from], of_books[to] = true, true
    -- A text as long as it can be.
    has[share] = has[share] and has[share] + quantity or ARGV[j + QUANTITY]
    of_has[share] = true
  end
  holds[id] = json .. '}'
  add(to_holds, id, holds[id])
  return hold_of(0, id)
end

local function answer(i)
  if NOW > tonumber(ARGV[i + DUE]) then
    return { 'TOO_LATE' }
  end
  local id = ARGV[i + ID]
  if holds[id] then
    local hold, lines = cjson.decode(holds[id]), {}
    local first, last = lines_of(i)
    for j = first, last, WIDTH do
      lines[#lines + 1] = { ARGV[j + SKU], tonumber(ARGV[j + QUANTITY]) }
    end
    return took(id, hold, ARGV[i + OPERATION], ARGV[i + HASH], lines) and hold_of(1, id) or { 'REUSED' }
  end
  -- The request changed a hold, and did not take one.
  if known[id] then
    return { 'REUSED' }
  end
  local refusal, lines = refused(i)
  return refusal or take(i, lines)
end

local reply = { 'TAKEN', NOW }
for n, i in ipairs(requests) do
  reply[n + 2] = answer(i)
end

local function write(command, key, list)
  if #list > 0 then
    call(command, key, unpack(list))
  end
end
local function changed(values, fields)
  local list = {}
  for field in pairs(fields) do
    add(list, field, values[field])
  end
  return list
end
if #to_holds > 0 then
  write('HSET', STOCK, changed(books, of_books))
  write('HSET', BUYERS, changed(has, of_has))
  write('HSET', SPENT, to_spent)
  write('HSET', ORDERS, to_orders)
  write('ZADD', PENDING, to_pending)
  write('ZADD', DEADLINES, to_deadlines)
  write('HSET', HOLDS, to_holds)
  seal()
end
return reply
