-- Gives back the units of holds whose deadline has passed, oldest first.
--
-- ARGV  1 epoch, 2 deadline, 3 the most holds to end in this call
-- Reply SWEPT number ended, 1 if no hold is held and none can come any more; FENCED; TOO_LATE
local refusal = guard()
if refusal then
  return refusal
end

local due = call('ZRANGEBYSCORE', DEADLINES, '-inf', NOW, 'LIMIT', 0, ARGV[FIRST])
for _, id in ipairs(due) do
  local hold = cjson.decode(call('HGET', HOLDS, id))
  hold.s = 'EXPIRED'
  give_back(hold, 'h')
  call('ZREM', DEADLINES, id)
  store(id, hold)
end
seal()
local over = STATE == 'ENDED' or STATE == 'CANCELLED' or OVER
return { 'SWEPT', NOW, #due, over and call('ZCARD', DEADLINES) == 0 and 1 or 0 }
