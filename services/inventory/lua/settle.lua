-- Ends placed holds, or drops the order they carry because the record has it. Each hold on its own,
-- by compare-and-set.
--
-- ARGV  1 epoch, 2 deadline, then hold id, outcome (`CLAIMED`, `SOLD`, `RELEASED`), and the order
--       that ends or '' for any
-- Reply SETTLED and per hold: DONE, ALREADY, UNKNOWN or CONFLICT; FENCED; TOO_LATE
local refusal = guard()
if refusal then
  return refusal
end

local function drop_order(id)
  call('HDEL', ORDERS, id)
  return call('ZREM', PENDING, id) == 1
end

local function settle(id, outcome, order)
  local json = call('HGET', HOLDS, id)
  if not json then
    return 'UNKNOWN'
  end
  local hold = cjson.decode(json)
  -- A hold id is used again when its buyer reserves again, under the same request, what was lost
  -- with an older epoch.
  if order ~= '' and hold.o ~= order then
    return 'UNKNOWN'
  end
  if outcome == 'CLAIMED' then
    -- An order that has ended was claimed before that. A hold without an order has none to claim.
    if not hold.o then
      return 'CONFLICT'
    end
    return drop_order(id) and 'DONE' or 'ALREADY'
  end
  -- A hold that never had an order may have been released by its buyer: that does not answer how an
  -- order ended.
  if hold.o and hold.s == outcome then
    return 'ALREADY'
  end
  if hold.s ~= 'PLACED' then
    return 'CONFLICT'
  end
  hold.s = outcome
  if outcome == 'SOLD' then
    move(hold, 'p', 's')
  else
    give_back(hold, 'p')
  end
  drop_order(id)
  store(id, hold)
  return 'DONE'
end

local reply = { 'SETTLED', NOW }
for i = FIRST, #ARGV, 3 do
  reply[#reply + 1] = settle(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
seal()
return reply
