-- Gives a held hold's units back. A hold that has given them back already is not changed; one with
-- an order is ended by the order.
--
-- ARGV  1 epoch, 2 deadline, 3 derived request key, 4 content hash, 5 hold id, 6 buyer
-- Reply HOLD (see prelude); FENCED; TOO_LATE; REUSED; NO_HOLD; RESOLVED state
local request, hash, id, buyer = ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local refusal = guard() or replay('release', request, hash)
if refusal then
  return refusal
end
local hold, missing = find(id, buyer)
if not hold then
  return missing
end
if hold.s == 'PLACED' or hold.s == 'SOLD' then
  return { 'RESOLVED', NOW, hold.s }
end

if hold.s == 'HELD' then
  -- Past its deadline it has been read as expired already, and an end never changes.
  hold.s = hold.d <= NOW and 'EXPIRED' or 'RELEASED'
  give_back(hold, 'h')
  call('ZREM', DEADLINES, id)
  store(id, hold)
end
remember('release', request, hash, id)
seal()
return hold_reply(0, id, call('HGET', HOLDS, id))
