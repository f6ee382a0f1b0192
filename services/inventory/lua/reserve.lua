-- Takes units for one buyer, all lines or none, and holds or places them. A refusal writes nothing.
--
-- ARGV  1 epoch, 2 deadline, 3 operation (`reserve` or `place`), 4 derived request key, 5 content hash, 6 hold id, 7 buyer,
--       8 verdict on the admission (`ok`, `required`, `invalid`, `foreign`, `expired`, `unverified`), 9 admission id or '',
--       10 the order's details, 11 the request id as sent (both for `place`), 12 the highest total in minor units, then sku and
--       quantity, each sku once
-- Reply HOLD (see prelude); FENCED; TOO_LATE; REUSED;
--       NOT_OPEN state, starts_ms, ends_ms · ADMISSION verdict · SPENT hold id · NO_SKU sku
--       · LIMIT sku, limit, units the buyer has, asked · SOLD_OUT sku, available, asked · TOO_MUCH
local operation, request, hash, id, buyer = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local verdict, admission, details, request_id, highest = ARGV[8], ARGV[9], ARGV[10], ARGV[11], tonumber(ARGV[12])
local first = 13

local refusal = guard() or replay(operation, request, hash)
if refusal then
  return refusal
end

if STATE ~= 'OPEN' or NOW < STARTS or NOW >= ENDS then
  return { 'NOT_OPEN', NOW, STATE, STARTS, ENDS }
end

if ROOM then
  if verdict ~= 'ok' then
    return { 'ADMISSION', NOW, verdict }
  end
  local spent_by = call('HGET', SPENT, admission)
  if spent_by and spent_by ~= id then
    return { 'SPENT', NOW, spent_by }
  end
end

local wanted, of_stock, of_buyer = {}, {}, {}
for i = first, #ARGV, 2 do
  local sku, quantity = ARGV[i], tonumber(ARGV[i + 1])
  wanted[#wanted + 1] = { sku, quantity }
  of_stock[#of_stock + 1] = 'a:' .. sku
  of_stock[#of_stock + 1] = 'l:' .. sku
  of_stock[#of_stock + 1] = 'm:' .. sku
  of_buyer[#of_buyer + 1] = sku .. '\31' .. buyer
end
local stock = call('HMGET', STOCK, unpack(of_stock))
local has = call('HMGET', BUYERS, unpack(of_buyer))

for i, line in ipairs(wanted) do
  if not stock[3 * i] then
    return { 'NO_SKU', NOW, line[1] }
  end
end
local total = 0
for i, line in ipairs(wanted) do
  local limit, mine = tonumber(stock[3 * i - 1]), tonumber(has[i] or '0')
  if limit > 0 and mine + line[2] > limit then
    return { 'LIMIT', NOW, line[1], limit, mine, line[2] }
  end
  line[3] = tonumber(stock[3 * i])
  total = total + line[2] * line[3]
end
for i, line in ipairs(wanted) do
  local available = tonumber(stock[3 * i - 2])
  if available < line[2] then
    return { 'SOLD_OUT', NOW, line[1], available, line[2] }
  end
end
if total > highest then
  return { 'TOO_MUCH', NOW }
end

local hold = { b = buyer, s = 'HELD', d = NOW + HOLD_MS, t = NOW, l = wanted, e = tonumber(ARGV[1]) }
if ROOM then
  hold.j = admission
  call('HSET', SPENT, admission, id)
end
for _, line in ipairs(wanted) do
  call('HINCRBY', BUYERS, line[1] .. '\31' .. buyer, line[2])
end
if operation == 'place' then
  hold.s, hold.o, hold.p, hold.q, hold.h = 'PLACED', request, NOW, request_id, hash
  move(hold, 'a', 'p')
  call('ZADD', PENDING, NOW, id)
  call('HSET', ORDERS, id, details)
else
  move(hold, 'a', 'h')
  call('ZADD', DEADLINES, hold.d, id)
end
local json = store(id, hold)
remember(operation, request, hash, id)
seal()
return hold_reply(0, id, json)
