-- Brings the revisions of a sale's prices beside its stock, in steps of which none touches more
-- skus than the caller sends at once. The one to come is staged under its own number, in the fields
-- `n:<revision>:<sku>` of the stock, and armed with its time when it is whole. From then on
-- the clock alone switches: every other script takes its prices once that time is there, sku by
-- sku, so that all skus change over at once, also while they are moved one after the other. What is
-- staged under one number may have rows of several revisions, of which none was on time: they
-- change over together, and each row names its own.
--
-- ARGV  1 epoch, 2 deadline, 3 step, then per step:
--       look:     revisions that are not wanted any more; changes nothing
--       stage:    revision, then per sku: sku, `price|limit|regular price or nothing|its revision`
--       arm:      revision, the number of its skus, its time in ms: now, if that has passed
--       withdraw: revision; not any more once it has switched
--       clean:    revision, then skus: takes away what was staged of one that is not armed
--       promote:  revision, then skus: moves what has switched to where the present prices stand
--       promoted: revision; when all of it has been moved
-- Reply PRICES the present revision, since when ('' for the first), the next one ('' for none), its
--       time, 1 if it has switched, how many skus of the revision of the step are staged; after
--       `look` the asked revisions of which something is staged, with how many skus; FENCED;
--       TOO_LATE
--
-- A step that does not fit what stands here changes nothing: the caller sees it by the reply, and
-- goes on from there. So may several callers at once, and one that was cut off.
local step, revision, first = ARGV[FIRST], ARGV[FIRST + 1], FIRST + 2

local refusal = guard()
if refusal then
  return refusal
end

-- How many skus of a revision are staged: counted together with the fields themselves.
local function counter(of)
  return 'staged:' .. of
end
local function field(sku)
  return 'n:' .. revision .. ':' .. sku
end
local present = present_revision()
local armed, newer = NEXT == revision, step ~= 'look' and tonumber(revision) > tonumber(present)

if step == 'stage' and not NEXT and newer then
  local added = 0
  for i = first, #ARGV, 2 do
    added = added + call('HSET', STOCK, field(ARGV[i]), ARGV[i + 1])
  end
  call('HINCRBY', META, counter(revision), added)
elseif step == 'arm' and not NEXT and newer and call('HGET', META, counter(revision)) == ARGV[first] then
  NEXT, NEXT_MS = revision, string.format('%.0f', math.max(NOW, tonumber(ARGV[first + 1])))
  call('HSET', META, 'next_rev', NEXT, 'next_ms', NEXT_MS)
elseif step == 'withdraw' and armed and not SWITCHED then
  call('HDEL', META, 'next_rev', 'next_ms')
  NEXT = nil
elseif step == 'clean' and not armed then
  local gone = 0
  for i = first, #ARGV do
    gone = gone + call('HDEL', STOCK, field(ARGV[i]))
  end
  if gone > 0 and call('HINCRBY', META, counter(revision), -gone) == 0 then
    call('HDEL', META, counter(revision))
  end
elseif step == 'promote' and armed and SWITCHED then
  local moved = 0
  for i = first, #ARGV do
    local sku = ARGV[i]
    local staged = call('HGET', STOCK, field(sku))
    if staged then
      local price, limit, regular, own = string.match(staged, '^(%d+)|(%d+)|(%d*)|(%d+)$')
      call('HSET', STOCK, 'm:' .. sku, price .. ',' .. own, 'l:' .. sku, limit)
      if regular == '' then
        call('HDEL', STOCK, 'g:' .. sku)
      else
        call('HSET', STOCK, 'g:' .. sku, regular)
      end
      call('HDEL', STOCK, field(sku))
      moved = moved + 1
    end
  end
  if moved > 0 then
    call('HINCRBY', META, counter(revision), -moved)
  end
elseif step == 'promoted' and armed and SWITCHED and call('HGET', META, counter(revision)) == '0' then
  call('HSET', META, 'rev', revision, 'rev_ms', NEXT_MS)
  call('HDEL', META, 'next_rev', 'next_ms', 'switched', counter(revision))
  present, NEXT, SWITCHED = revision, nil, false
end
if step ~= 'look' then
  seal()
end

local reply = { 'PRICES', NOW, present, call('HGET', META, 'rev_ms') or '', NEXT or '', NEXT and NEXT_MS or 0, SWITCHED and 1 or 0,
  step ~= 'look' and call('HGET', META, counter(revision)) or 0 }
if step == 'look' then
  for i = FIRST + 1, #ARGV do
    local staged = call('HGET', META, counter(ARGV[i]))
    if staged and staged ~= '0' then
      reply[#reply + 1] = ARGV[i]
      reply[#reply + 1] = staged
    end
  end
end
return reply
