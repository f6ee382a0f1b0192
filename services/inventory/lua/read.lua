-- Reads the books of skus, as of one instant.
--
-- ARGV  1 epoch, 2 deadline, then skus; none means all
-- Reply STOCK and per sku: sku, allotted, available, held, placed, sold; FENCED; TOO_LATE; NO_SKU sku
local refusal = guard()
if refusal then
  return refusal
end

local skus = {}
if #ARGV >= FIRST then
  for i = FIRST, #ARGV do
    skus[#skus + 1] = ARGV[i]
  end
else
  for _, field in ipairs(call('HKEYS', STOCK)) do
    if string.sub(field, 1, 2) == 't:' then
      skus[#skus + 1] = string.sub(field, 3)
    end
  end
end

local reply = { 'STOCK', NOW }
for _, sku in ipairs(skus) do
  local books = call('HMGET', STOCK, 't:' .. sku, 'a:' .. sku, 'h:' .. sku, 'p:' .. sku, 's:' .. sku)
  if not books[1] then
    return { 'NO_SKU', NOW, sku }
  end
  reply[#reply + 1] = sku
  for i = 1, 5 do
    reply[#reply + 1] = books[i]
  end
end
return reply
