-- Gives a place back: its ticket is never admitted.
--
-- ARGV  1 the buyer, 2 the ticket's number, 3 its generation.
-- Reply LEFT
-- Idempotent. A later place of the buyer is not touched.
local room = read_room()
if not room then
  return { 'GONE' }
end
local left = { number = tonumber(ARGV[2]), generation = tonumber(ARGV[3]) }
local known = record_of(ARGV[1])
if not known or not is_later(known, left) then
  keep_record(ARGV[1], left.number, left.generation, 'LEFT')
  seal(room)
end
return reply('LEFT', room)
