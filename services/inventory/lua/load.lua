-- Loads a sale's stock in steps, of which only the last makes it visible. The record hands out each
-- epoch once, to one loader, and a later one only if the earlier was never put to use: so the
-- loader with the highest epoch may clear what lies under the keys, and one with a lower epoch is
-- refused.
--
-- ARGV  1 epoch, 2 deadline, 3 step, then per step:
--       probe:   nothing; reads what is loaded
--       claim:   nothing; clears what lies under the keys
--       stage:   per sku: sku, units, per-buyer limit, price in minor units with its revision
--                behind a comma unless that is the first, regular price or ''
--       prices:  fields of the stock with the next revision of prices (see reprice.lua), and values
--       orders:  per recorded order: hold id, the hold without `t`, the column its units are in
--                (`p`, `s`, '' for none), order id, content hash of its placing
--       publish: request id of the load ('' for a rebuild), number of fields of the stock, number
--                of holds, then the fields and values of meta; an empty value stands for now
-- Reply OK server; LOADED epoch, request id of its load, server (probe); NOTHING server (probe);
--       OVERTAKEN; TOO_LATE
local step, first = ARGV[FIRST], FIRST + 1

if NOW > tonumber(ARGV[2]) then
  return { 'TOO_LATE', NOW }
end
local meta = call('HMGET', META, 'epoch', 'run_id', 'keys', 'load_request', 'loading')
local epoch, run_id, loading = meta[1], meta[2], meta[5]
local whole = epoch and run_id == SERVER and tonumber(meta[3]) == existing()

if step == 'probe' then
  if whole then
    return { 'LOADED', NOW, epoch, meta[4], SERVER }
  end
  return { 'NOTHING', NOW, SERVER }
end

if step == 'claim' then
  if math.max(tonumber(epoch or '0'), tonumber(loading or '0')) > tonumber(ARGV[1]) then
    return { 'OVERTAKEN', NOW }
  end
  call('DEL', unpack(KEYS))
  call('HSET', META, 'loading', ARGV[1], 'run_id', SERVER)
  return { 'OK', NOW, SERVER }
end

if step == 'publish' and whole and epoch == ARGV[1] then
  return { 'OK', NOW, SERVER }
end
if loading ~= ARGV[1] or run_id ~= SERVER then
  return { 'OVERTAKEN', NOW }
end

if step == 'stage' then
  for i = first, #ARGV, 5 do
    local sku, units, limit, price, regular = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
    call('HSET', STOCK, 't:' .. sku, units, 'a:' .. sku, units, 'h:' .. sku, 0, 'p:' .. sku, 0, 's:' .. sku, 0,
      'l:' .. sku, limit, 'm:' .. sku, price)
    if regular ~= '' then
      call('HSET', STOCK, 'g:' .. sku, regular)
    end
  end
  return { 'OK', NOW, SERVER }
end

if step == 'prices' then
  for i = first, #ARGV, 2 do
    call('HSET', STOCK, ARGV[i], ARGV[i + 1])
  end
  return { 'OK', NOW, SERVER }
end

if step == 'orders' then
  for i = first, #ARGV, 5 do
    local id, json, column = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    -- The units are taken now, by this server's clock. Appended as text, so that the rest of the
    -- hold is not encoded again.
    json = string.sub(json, 1, -2) .. string.format(',"t":%.0f}', NOW)
    -- A part that comes again must not count twice.
    if call('HSETNX', HOLDS, id, json) == 1 then
      local hold = cjson.decode(json)
      if column ~= '' then
        move(hold, 'a', column)
        for _, line in ipairs(hold.l) do
          call('HINCRBY', BUYERS, line[1] .. '\31' .. hold.b, line[2])
        end
      end
      if hold.j then
        call('HSET', SPENT, hold.j, id)
      end
      remember('place', ARGV[i + 3], ARGV[i + 4], id)
    end
  end
  return { 'OK', NOW, SERVER }
end

-- Publish. Every field of the stock, and every hold: anything else means that a staged part is
-- gone.
if call('HLEN', STOCK) ~= tonumber(ARGV[first + 1]) or call('HLEN', HOLDS) ~= tonumber(ARGV[first + 2]) then
  return { 'OVERTAKEN', NOW }
end
call('HDEL', META, 'loading')
call('HSET', META, 'epoch', ARGV[1], 'load_request', ARGV[first])
for i = first + 3, #ARGV, 2 do
  call('HSET', META, ARGV[i], ARGV[i + 1] == '' and NOW or ARGV[i + 1])
end
seal()
return { 'OK', NOW, SERVER }
