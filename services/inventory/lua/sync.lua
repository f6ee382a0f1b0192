-- Puts a newer version of the sale's rules beside its stock; an older one never replaces a newer
-- one.
--
-- ARGV  1 epoch, 2 deadline, 3 version, then the fields and values of meta
-- Reply VERSION the version that now stands there; FENCED; TOO_LATE
local version = tonumber(ARGV[FIRST])

local refusal = guard()
if refusal then
  return refusal
end
local present = tonumber(call('HGET', META, 'version'))
if version <= present then
  return { 'VERSION', NOW, present }
end
call('HSET', META, 'version', ARGV[FIRST])
for i = FIRST + 1, #ARGV, 2 do
  call('HSET', META, ARGV[i], ARGV[i + 1])
end
return { 'VERSION', NOW, version }
