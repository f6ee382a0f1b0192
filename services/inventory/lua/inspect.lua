-- Reads a part of what stands under the keys, for comparing it with the record. Changes nothing. A
-- page is as of one instant, several pages are not: reading all of a large sale in one run would
-- block the server for all others.
--
-- ARGV  1 epoch, 2 deadline, 3 what, then
--       `holds` or `buyers`, cursor, about how many: a page; cursor 0 begins
--       `skus`, cursor, about how many fields of `stock`, seven for each sku: a page of the skus
--       `strays`, cursor, about how many: a page of `deadlines`, only entries without a hold
--       `ids`, then hold ids: these holds
-- Reply PAGE the next cursor, 0 after the last; then per hold: id, the hold as stored, its deadline
--       in `deadlines`, its time in `pending` ('' each where there is none), 1 if it carries an
--       order's details, else 0; per buyer: field and units; per sku: the sku; per stray: id;
--       FENCED; TOO_LATE
local what = ARGV[FIRST]

local refusal = guard()
if refusal then
  return refusal
end

local reply = { 'PAGE', NOW, '0' }
local function add(part)
  reply[#reply + 1] = part
end

local function show(id, json)
  add(id)
  add(json or '')
  add(call('ZSCORE', DEADLINES, id) or '')
  add(call('ZSCORE', PENDING, id) or '')
  add(call('HEXISTS', ORDERS, id))
end

if what == 'ids' then
  for i = FIRST + 1, #ARGV do
    show(ARGV[i], call('HGET', HOLDS, ARGV[i]))
  end
  return reply
end

local cursor, count = ARGV[FIRST + 1], ARGV[FIRST + 2]
local HASHES = { holds = HOLDS, buyers = BUYERS, skus = STOCK }
local page
if what == 'strays' then
  page = call('ZSCAN', DEADLINES, cursor, 'COUNT', count)
else
  page = call('HSCAN', HASHES[what], cursor, 'COUNT', count)
end
reply[3] = page[1]
for i = 1, #page[2], 2 do
  local field, value = page[2][i], page[2][i + 1]
  if what == 'holds' then
    show(field, value)
  elseif what == 'buyers' then
    add(field)
    add(value)
  elseif what == 'skus' then
    if string.sub(field, 1, 2) == 't:' then
      add(string.sub(field, 3))
    end
  elseif call('HEXISTS', HOLDS, field) == 0 then
    add(field)
  end
end
return reply
