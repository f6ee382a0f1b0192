-- Gives a place back: its ticket is never admitted.
--
-- ARGV  1 the buyer, 2 the ticket's number, 3 its generation.
-- Reply LEFT
-- Idempotent. A later place of the buyer is not touched.
local room = read_room()
if not room then
  return { 'GONE' }
end
local number, generation = tonumber(ARGV[2]), tonumber(ARGV[3])
local known = record_of(ARGV[1])
if not known or known.number == number or known.generation < generation then
  call('HSET', BUYERS, ARGV[1], whole(number) .. '|' .. whole(generation) .. '|LEFT')
end
return reply('LEFT', room)
