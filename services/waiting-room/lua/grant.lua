-- Lets a room hand out a block of numbers that Postgres has reserved for exactly this call.
--
-- ARGV  1 the number before the block, 2 the last of the block.
-- Reply GRANTED
-- A block behind the present one is dropped: its numbers are skipped. A gap in front of it is skipped too: the instance that reserved those
-- numbers may have died, and no other may hand them out.
local room = read_room()
if not room then
  return { 'GONE' }
end
local from, upto = tonumber(ARGV[1]), tonumber(ARGV[2])
if from >= room.upto then
  if from > room.upto then
    room.next = from
  end
  room.upto = upto
  call('HSET', ROOM, 'next', whole(room.next), 'upto', whole(room.upto))
end
return reply('GRANTED', room)
