-- Puts a newer version of the sale's rules beside its stock; an older one never replaces a newer
-- one. Two things are decided here, by this server's clock, and what is decided stays: a sale that
-- is to be called off is, unless it has begun; and one whose window has passed is over, whatever
-- end it gets.
--
-- ARGV  1 epoch, 2 deadline, 3 version, 4 '1' if the sale is to be called off, then the fields and
--       values of meta
-- Reply VERSION the version that now stands there, the state that stands there, 1 if its window has
--       passed; FENCED; TOO_LATE
local version, cancels = tonumber(ARGV[FIRST]), ARGV[FIRST + 1] == '1'

local refusal = guard()
if refusal then
  return refusal
end
local over = OVER and 1 or 0
local present = tonumber(call('HGET', META, 'version'))
if version <= present then
  return { 'VERSION', NOW, present, STATE, over }
end
call('HSET', META, 'version', ARGV[FIRST], 'over', over)
if cancels then
  if STATE == 'OPEN' and not BEGUN then
    STATE = 'CANCELLED'
    call('HSET', META, 'state', STATE)
  end
  return { 'VERSION', NOW, version, STATE, over }
end
if BEGUN and STATE == 'OPEN' then
  call('HSET', META, 'begun', '1')
end
for i = FIRST + 2, #ARGV, 2 do
  call('HSET', META, ARGV[i], ARGV[i + 1])
end
return { 'VERSION', NOW, version, call('HGET', META, 'state'), over }
