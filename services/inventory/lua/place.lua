-- Turns a held hold into a placed one that carries its order. The sale may be paused or over: a
-- held hold may be placed until its own deadline. Past its deadline it counts as expired even
-- before a sweep has ended it.
--
-- ARGV  1 epoch, 2 deadline, 3 derived request key (the order id), 4 content hash, 5 hold id, 6
--       buyer, 7 the order's details, 8 the request id as sent, 9 the total that is expected with
--       its currency behind a comma, or ''
-- Reply HOLD (see prelude); FENCED; TOO_LATE; REUSED; NO_HOLD; EXPIRED deadline; RESOLVED state;
--       PRICE the total expected, the total, currency
local request, hash, id, buyer, details, request_id, expected = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]

local refusal = guard() or replay('place', request, hash)
if refusal then
  return refusal
end
local hold, missing = find(id, buyer)
if not hold then
  return missing
end
if hold.s == 'EXPIRED' or (hold.s == 'HELD' and hold.d <= NOW) then
  return { 'EXPIRED', NOW, hold.d }
end
if hold.s ~= 'HELD' then
  return { 'RESOLVED', NOW, hold.s }
end
if expected ~= '' then
  local total = 0
  for _, line in ipairs(hold.l) do
    total = total + line[2] * line[3]
  end
  if expected ~= string.format('%.0f,%s', total, CURRENCY) then
    return { 'PRICE', NOW, expected, total, CURRENCY }
  end
end

give_order(hold, 'PLACED', request, NOW, request_id, hash)
move(hold, 'h', 'p')
call('ZREM', DEADLINES, id)
call('ZADD', PENDING, NOW, id)
call('HSET', ORDERS, id, details)
local json = store(id, hold)
remember('place', request, hash, id)
seal()
return hold_reply(0, id, json)
