-- Reads the books of skus, as of one instant.
--
-- ARGV  1 epoch, 2 deadline, then skus; none means all
-- Reply STOCK and a list of fields and values of `stock`, at least the books of the skus asked for;
--       FENCED; TOO_LATE; NO_SKU sku
local refusal = guard()
if refusal then
  return refusal
end
if #ARGV < FIRST then
  -- Unsorted: sorting 10,000 skus here would block the server for all others several times longer.
  return { 'STOCK', NOW, call('HGETALL', STOCK) }
end

local books = {}
for i = FIRST, #ARGV do
  for _, column in ipairs({ 't:', 'a:', 'h:', 'p:', 's:' }) do
    local field = column .. ARGV[i]
    local units = call('HGET', STOCK, field)
    if not units then
      return { 'NO_SKU', NOW, ARGV[i] }
    end
    books[#books + 1] = field
    books[#books + 1] = units
  end
end
return { 'STOCK', NOW, books }
