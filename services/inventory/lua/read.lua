-- Reads the books of skus, with what a unit costs and how many a buyer may have, as of one instant.
-- A reading of several pages compares what the sale was at each.
--
-- ARGV  1 epoch, 2 deadline, then skus, a page of them: a run blocks the server for all others
-- Reply STOCK version, state, starts_ms, ends_ms, 1 if the window has begun, 1 if it has passed,
--       currency, then lists of values, seven for each sku in the order of ARGV: allotted,
--       available, held, placed, sold, per-buyer limit, price in minor units; FENCED; TOO_LATE;
--       NO_SKU sku
local refusal = guard()
if refusal then
  return refusal
end

local COLUMNS = { 't:', 'a:', 'h:', 'p:', 's:', 'l:', 'm:' }
-- Skus per call: a call for each takes twice as long, and Lua passes no more than some thousand
-- values.
local AT_ONCE = 100

local reply = { 'STOCK', NOW, call('HGET', META, 'version'), STATE, STARTS, ENDS, BEGUN and 1 or 0, OVER and 1 or 0, CURRENCY }
for first = FIRST, #ARGV, AT_ONCE do
  local fields = {}
  for i = first, math.min(first + AT_ONCE - 1, #ARGV) do
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
  reply[#reply + 1] = values
end
return reply
