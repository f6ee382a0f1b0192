-- Reads the books of skus, with what a unit costs and how many a buyer may have, as of one instant.
-- A reading of several pages compares what the sale was at each.
--
-- ARGV  1 epoch, 2 deadline, then skus, a page of them: a run blocks the server for all others
-- Reply STOCK version, state, starts_ms, ends_ms, 1 if the window has begun, 1 if it has passed,
--       currency, the revision of the prices, when the next one takes over or 0, then lists of
--       values, eight for each sku in the order of ARGV: allotted, available, held, placed, sold,
--       per-buyer limit, price in minor units with its revision behind a comma unless that is the
--       first, regular price or none; FENCED; TOO_LATE; NO_SKU sku
local refusal = guard()
if refusal then
  return refusal
end

local COLUMNS = { 't:', 'a:', 'h:', 'p:', 's:', 'l:', 'm:', 'g:' }
-- Skus per call: a call for each takes twice as long, and Lua passes no more than some thousand
-- values.
local AT_ONCE = 100

-- Puts the limit, price and regular price of the revision that has taken over in the place of
-- those before it.
local function switch(values, first, last)
  local fields = {}
  for i = first, last do
    fields[#fields + 1] = COMING .. ARGV[i]
  end
  for n, coming in ipairs(call('HMGET', STOCK, unpack(fields))) do
    if coming then
      local price, limit, regular, revision = string.match(coming, '^(%d+)|(%d+)|(%d*)|(%d+)$')
      local at = (n - 1) * #COLUMNS
      values[at + 6], values[at + 7], values[at + 8] = limit, price .. ',' .. revision, regular ~= '' and regular
    end
  end
end

local next_ms = NEXT and not SWITCHED and NEXT_MS or 0
local reply = { 'STOCK', NOW, call('HGET', META, 'version'), STATE, STARTS, ENDS, BEGUN and 1 or 0, OVER and 1 or 0, CURRENCY,
  SWITCHED and NEXT or present_revision(), next_ms }
for first = FIRST, #ARGV, AT_ONCE do
  local fields = {}
  local last = math.min(first + AT_ONCE - 1, #ARGV)
  for i = first, last do
    for _, column in ipairs(COLUMNS) do
      fields[#fields + 1] = column .. ARGV[i]
    end
  end
  local values = call('HMGET', STOCK, unpack(fields))
  for i = 1, #fields, #COLUMNS do
    if not values[i] then
      return { 'NO_SKU', NOW, string.sub(fields[i], 3) }
    end
  end
  if COMING then
    switch(values, first, last)
  end
  reply[#reply + 1] = values
end
return reply
