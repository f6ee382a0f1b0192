-- Reads one hold, by its id or by the order it carries.
--
-- ARGV  1 epoch, 2 deadline, 3 `hold` or `order`, 4 the id, 5 the buyer it must belong to, '' for anybody
-- Reply HOLD (see prelude); FENCED; TOO_LATE; NO_HOLD
local by, id, buyer = ARGV[3], ARGV[4], ARGV[5]

local refusal = guard()
if refusal then
  return refusal
end
if by == 'order' then
  -- An order's id is the key of the request that placed it.
  id = string.match(call('HGET', REQUESTS, id) or '', '^place|%x+|(.+)$')
end
local json = id and call('HGET', HOLDS, id)
if not json or (buyer ~= '' and cjson.decode(json).b ~= buyer) then
  return { 'NO_HOLD', NOW }
end
return hold_reply(0, id, json)
