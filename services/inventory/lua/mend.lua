-- Brings the indexes in line with holds: held holds have a deadline and no others have, and a
-- placed hold that still carries its order waits for its claim. The holds themselves and the books
-- are not changed.
--
-- ARGV  1 epoch, 2 deadline, then hold ids
-- Reply MENDED number of holds whose indexes changed; FENCED; TOO_LATE
local refusal = guard()
if refusal then
  return refusal
end

local function mend(id)
  local json = call('HGET', HOLDS, id)
  local hold = json and cjson.decode(json)
  if hold and hold.s == 'HELD' then
    if not call('ZSCORE', DEADLINES, id) then
      return call('ZADD', DEADLINES, hold.d, id)
    end
    return 0
  end
  local changed = call('ZREM', DEADLINES, id)
  -- A claim drops the order's details and the entry in one step: details without an entry mean that
  -- the entry was lost.
  if hold and hold.s == 'PLACED' and hold.p and call('HEXISTS', ORDERS, id) == 1 and not call('ZSCORE', PENDING, id) then
    changed = changed + call('ZADD', PENDING, hold.p, id)
  end
  return changed
end

local mended = 0
for i = FIRST, #ARGV do
  if mend(ARGV[i]) > 0 then
    mended = mended + 1
  end
end
seal()
return { 'MENDED', NOW, mended }
