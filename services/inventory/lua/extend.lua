-- Moves the deadline of a held hold to one hold length from now, at most `lengths` hold lengths
-- after it was taken, and never back.
--
-- ARGV  1 epoch, 2 deadline, 3 derived request key, 4 content hash, 5 hold id, 6 buyer, 7 lengths
-- Reply HOLD (see prelude); FENCED; TOO_LATE; REUSED; NO_HOLD; EXPIRED deadline; RESOLVED state;
--       AT_MAXIMUM deadline
local request, hash, id, buyer, lengths = ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])

local refusal = guard() or replay('extend', request, hash)
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

local latest = hold.t + lengths * HOLD_MS
if hold.d >= latest then
  return { 'AT_MAXIMUM', NOW, hold.d }
end

hold.d = math.max(hold.d, math.min(NOW + HOLD_MS, latest))
call('ZADD', DEADLINES, hold.d, id)
local json = store(id, hold)
remember('extend', request, hash, id)
seal()
return hold_reply(0, id, json)
