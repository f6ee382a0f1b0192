-- Adds units of a sku to the stock, or takes out free units. The result stands in `requests` from
-- then on, also a refusal: a repeated adjustment gets the same answer, whatever the stock is by
-- then.
--
-- ARGV  1 epoch, 2 deadline, 3 request id, 4 sku, 5 units to add (negative: to take out)
-- Reply ADJUSTED; COMMITTED units that were free, which were too few; FENCED; TOO_LATE; NO_SKU sku
local key, sku, delta = 'adjust|' .. ARGV[FIRST], ARGV[FIRST + 1], tonumber(ARGV[FIRST + 2])

local refusal = guard()
if refusal then
  return refusal
end
-- `done|<units>|<sku>` or `refused|<units that were free>|<units>|<sku>`.
local known = call('HGET', REQUESTS, key)
if known then
  local free = string.match(known, '^refused|(%d+)|')
  if free then
    return { 'COMMITTED', NOW, tonumber(free) }
  end
  return { 'ADJUSTED', NOW }
end
local available = tonumber(call('HGET', STOCK, 'a:' .. sku) or 'none')
if not available then
  return { 'NO_SKU', NOW, sku }
end

local reply
if available + delta < 0 then
  call('HSET', REQUESTS, key, 'refused|' .. available .. '|' .. ARGV[FIRST + 2] .. '|' .. sku)
  reply = { 'COMMITTED', NOW, available }
else
  call('HINCRBY', STOCK, 't:' .. sku, ARGV[FIRST + 2])
  call('HINCRBY', STOCK, 'a:' .. sku, ARGV[FIRST + 2])
  call('HSET', REQUESTS, key, 'done|' .. ARGV[FIRST + 2] .. '|' .. sku)
  reply = { 'ADJUSTED', NOW }
end
seal()
return reply
