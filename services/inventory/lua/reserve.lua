-- Takes units, each request for its own buyer, all its lines or none, and holds or places them. A refusal writes nothing.
--
-- Requests that wait together come together, so that what a run costs is paid once for all of them. What they may need is read first,
-- then each is decided in turn on what those before it have left, and what came of all is written last.
--
-- ARGV  1 epoch, 2 the latest of the requests' deadlines, 3 the highest total in minor units, then per request:
--       deadline, operation (`reserve` or `place`), derived request key, which becomes the hold's id, content hash, buyer,
--       verdict on the admission (`ok`, `required`, `invalid`, `foreign`, `expired`, `unverified`), admission id or '',
--       the order's details, the request id as sent (both for `place`), number of lines, and per line sku and quantity, each sku once
-- Reply TAKEN and per request a list: HOLD and what it brings (see prelude); TOO_LATE; REUSED;
--       NOT_OPEN state, starts_ms, ends_ms · ADMISSION verdict · SPENT hold id · NO_SKU sku
--       · LIMIT sku, limit, units the buyer has, asked · SOLD_OUT sku, available, asked · TOO_MUCH; or for all: FENCED; TOO_LATE
local refusal = guard()
if refusal then
  return refusal
end
local highest = tonumber(ARGV[3])

local asks, ids, admissions, columns, shares = {}, {}, {}, {}, {}
do
  local i, skus = 4, {}
  while i <= #ARGV do
    local ask = {
      due = tonumber(ARGV[i]), operation = ARGV[i + 1], id = ARGV[i + 2], hash = ARGV[i + 3], buyer = ARGV[i + 4],
      verdict = ARGV[i + 5], admission = ARGV[i + 6], details = ARGV[i + 7], request_id = ARGV[i + 8], lines = {},
    }
    local count = tonumber(ARGV[i + 9])
    for n = 1, count do
      local sku = ARGV[i + 8 + 2 * n]
      ask.lines[n] = { sku, tonumber(ARGV[i + 9 + 2 * n]) }
      shares[#shares + 1] = sku .. '\31' .. ask.buyer
      if not skus[sku] then
        skus[sku] = true
        for _, column in ipairs({ 'a:', 'h:', 'p:', 'l:', 'm:' }) do
          columns[#columns + 1] = column .. sku
        end
      end
    end
    asks[#asks + 1], ids[#ids + 1] = ask, ask.id
    admissions[#admissions + 1] = ask.admission
    i = i + 10 + 2 * count
  end
end

local function read(key, fields)
  local values, found = call('HMGET', key, unpack(fields)), {}
  for n, field in ipairs(fields) do
    found[field] = values[n]
  end
  return found
end
local holds, known = read(HOLDS, ids), read(REQUESTS, ids)
local books, has = read(STOCK, columns), read(BUYERS, shares)
local spent = ROOM and read(SPENT, admissions) or {}

-- What is to be written: fields and values of hashes, scores and members of sorted sets, and fields whose new value stands in `books` and `has`.
local to_holds, to_orders, to_spent, to_deadlines, to_pending = {}, {}, {}, {}, {}
local of_books, of_has = {}, {}
local carried = {}

local function add(list, one, two)
  list[#list + 1] = one
  list[#list + 1] = two
end

local function change(values, changed, field, by)
  values[field] = tonumber(values[field] or '0') + by
  changed[field] = true
end

local function hold_of(replayed, id)
  return { 'HOLD', replayed, id, holds[id], carried[id] or (replayed == 1 and call('HGET', ORDERS, id)) or '', CURRENCY }
end

local function refused(ask)
  if STATE ~= 'OPEN' or NOW < STARTS or NOW >= ENDS then
    return { 'NOT_OPEN', STATE, STARTS, ENDS }
  end
  if ROOM then
    if ask.verdict ~= 'ok' then
      return { 'ADMISSION', ask.verdict }
    end
    local spent_by = spent[ask.admission]
    if spent_by and spent_by ~= ask.id then
      return { 'SPENT', spent_by }
    end
  end
  for _, line in ipairs(ask.lines) do
    if not books['a:' .. line[1]] then
      return { 'NO_SKU', line[1] }
    end
  end
  local total = 0
  for _, line in ipairs(ask.lines) do
    local sku, quantity = line[1], line[2]
    local limit, mine = tonumber(books['l:' .. sku]), tonumber(has[sku .. '\31' .. ask.buyer] or '0')
    if limit > 0 and mine + quantity > limit then
      return { 'LIMIT', sku, limit, mine, quantity }
    end
    line[3] = tonumber(books['m:' .. sku])
    total = total + quantity * line[3]
  end
  for _, line in ipairs(ask.lines) do
    local available = tonumber(books['a:' .. line[1]])
    if available < line[2] then
      return { 'SOLD_OUT', line[1], available, line[2] }
    end
  end
  return total > highest and { 'TOO_MUCH' } or nil
end

local function take(ask)
  local id, placed = ask.id, ask.operation == 'place'
  local hold = { b = ask.buyer, s = 'HELD', d = NOW + HOLD_MS, t = NOW, l = ask.lines, e = tonumber(ARGV[1]) }
  if placed then
    hold.s, hold.o, hold.p, hold.q, hold.h = 'PLACED', id, NOW, ask.request_id, ask.hash
    carried[id] = ask.details
    add(to_orders, id, ask.details)
    add(to_pending, NOW, id)
  else
    hold.r = short(ask.hash)
    add(to_deadlines, hold.d, id)
  end
  if ROOM then
    hold.j = ask.admission
    spent[ask.admission] = id
    add(to_spent, ask.admission, id)
  end
  for _, line in ipairs(ask.lines) do
    local sku, quantity = line[1], line[2]
    change(books, of_books, 'a:' .. sku, -quantity)
    change(books, of_books, (placed and 'p:' or 'h:') .. sku, quantity)
    change(has, of_has, sku .. '\31' .. ask.buyer, quantity)
  end
  holds[id] = cjson.encode(hold)
  add(to_holds, id, holds[id])
  return hold_of(0, id)
end

local function answer(ask)
  if NOW > ask.due then
    return { 'TOO_LATE' }
  end
  local id = ask.id
  if holds[id] then
    return took(id, cjson.decode(holds[id]), ask.operation, ask.hash) and hold_of(1, id) or { 'REUSED' }
  end
  -- The request changed a hold, and did not take one.
  if known[id] then
    return { 'REUSED' }
  end
  return refused(ask) or take(ask)
end

local reply = { 'TAKEN', NOW }
for n, ask in ipairs(asks) do
  reply[n + 2] = answer(ask)
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
