-- Takes the units of orders of an older epoch again, each order on its own, and places them. Their
-- sale may be over and their admission spent: they were accepted in time. Only what is left now,
-- and what the buyer may still have, decides. The units cost what they did when they were first
-- taken: inventory reads it from the record, by the revision that the order names.
--
-- ARGV  1 epoch, 2 deadline, then per order: hold id, order id, buyer, admission id or '', request
--       id as sent, content hash, placed ms, the order's details, number of lines, and per line
--       sku, quantity, the price in minor units or '' if the record has none, its revision
-- Reply RETAKEN and per order TAKEN or REFUSED; FENCED; TOO_LATE
local refusal = guard()
if refusal then
  return refusal
end

local function fits(buyer, lines)
  for _, line in ipairs(lines) do
    local stock = call('HMGET', STOCK, 'a:' .. line[1], 'l:' .. line[1])
    if not stock[1] or tonumber(stock[1]) < line[2] then
      return false
    end
    local coming = COMING and call('HGET', STOCK, COMING .. line[1])
    local limit = tonumber(coming and string.match(coming, '^%d+|(%d+)|') or stock[2])
    local mine = tonumber(call('HGET', BUYERS, line[1] .. '\31' .. buyer) or '0')
    if limit > 0 and mine + line[2] > limit then
      return false
    end
  end
  return true
end

local function retake(id, order, buyer, admission, request_id, hash, placed, details, lines, priced)
  local json = call('HGET', HOLDS, id)
  local hold = json and cjson.decode(json)
  if hold and (hold.s == 'PLACED' or hold.s == 'SOLD') then
    return hold.o == order and 'TAKEN' or 'REFUSED'
  end
  if hold and hold.s == 'HELD' then
    -- The buyer's cart was refilled under the same request: with the units of the order, or with
    -- others.
    if not priced or hold.b ~= buyer or not has_lines(hold, lines) then
      return 'REFUSED'
    end
    hold.l = lines
    move(hold, 'h', 'p')
    call('ZREM', DEADLINES, id)
  else
    if not priced or not fits(buyer, lines) then
      -- The request is remembered as one that got nothing: a retry of it must not take units for an
      -- order that is about to end. The hold's units were last taken in an epoch before this one.
      local refused = { b = buyer, s = 'RELEASED', d = placed, t = placed, l = lines, e = tonumber(ARGV[1]) - 1 }
      give_order(refused, refused.s, order, placed, request_id, hash)
      store(id, refused)
      remember('place', order, hash, id)
      return 'REFUSED'
    end
    -- `t` is when this epoch took the units, not when an older one did.
    hold = { b = buyer, d = placed, t = NOW, l = lines, e = tonumber(ARGV[1]) }
    move(hold, 'a', 'p')
    for _, line in ipairs(lines) do
      call('HINCRBY', BUYERS, line[1] .. '\31' .. buyer, line[2])
    end
    if admission ~= '' then
      hold.j = admission
      call('HSET', SPENT, admission, id)
    end
  end
  give_order(hold, 'PLACED', order, placed, request_id, hash)
  call('ZADD', PENDING, placed, id)
  call('HSET', ORDERS, id, details)
  store(id, hold)
  remember('place', order, hash, id)
  return 'TAKEN'
end

local reply, i = { 'RETAKEN', NOW }, FIRST
while i <= #ARGV do
  local lines, priced, count = {}, true, tonumber(ARGV[i + 8])
  for n = 0, count - 1 do
    local at = i + 9 + 4 * n
    local price, revision = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    priced = priced and price ~= nil
    -- The first revision is not written: a version before this one reads such a line.
    lines[n + 1] = { ARGV[at], tonumber(ARGV[at + 1]), price or 0, revision > 1 and revision or nil }
  end
  reply[#reply + 1] = retake(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5],
    tonumber(ARGV[i + 6]), ARGV[i + 7], lines, priced)
  i = i + 9 + 4 * count
end
seal()
return reply
