-- Lists placed holds whose order the record is not known to have, oldest first.
--
-- ARGV  1 epoch, 2 deadline, 3 placed before this ms, 4 at most this many, 5 stop after this many
--       bytes (but never before the first)
-- Reply PLACED, the currency, and per hold: id, the hold as stored, what its order carries, each
--       empty if it is missing; FENCED; TOO_LATE
local before, most, most_bytes = ARGV[3], ARGV[4], tonumber(ARGV[5])

local refusal = guard()
if refusal then
  return refusal
end

local reply, bytes = { 'PLACED', NOW, CURRENCY }, 0
for _, id in ipairs(call('ZRANGEBYSCORE', PENDING, '-inf', '(' .. before, 'LIMIT', 0, most)) do
  local json, details = call('HGET', HOLDS, id) or '', call('HGET', ORDERS, id) or ''
  bytes = bytes + #json + #details
  if bytes > most_bytes and #reply > 3 then
    break
  end
  reply[#reply + 1] = id
  reply[#reply + 1] = json
  reply[#reply + 1] = details
end
return reply
