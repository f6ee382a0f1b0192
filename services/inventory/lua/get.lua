-- Reads one hold, by its id or by the order it carries.
--
-- ARGV  1 epoch, 2 deadline, 3 `hold` or `order`, 4 the id, 5 the buyer it must belong to, '' for
--       any
-- Reply HOLD (see prelude); FENCED; TOO_LATE; NO_HOLD
local by, id, buyer = ARGV[3], ARGV[4], ARGV[5]

local refusal = guard()
if refusal then
  return refusal
end
local order = by == 'order' and id
if order then
  -- An order's id is the key of the request that placed it, and also the hold's id if that request
  -- took the hold.
  local known = call('HGET', REQUESTS, order)
  id = known and string.match(known, '^place|%x+|(.+)$') or order
end
local json = call('HGET', HOLDS, id)
local hold = json and cjson.decode(json)
if not hold or (order and hold.o ~= order) or (buyer ~= '' and hold.b ~= buyer) then
  return { 'NO_HOLD', NOW }
end
return hold_reply(0, id, json)
