-- Gives a buyer the place they have, or the next one.
--
-- ARGV  1 the buyer, 2 the request id, 3 '1' if nothing will ever be for sale again, 4 the number and 5 the generation of the ticket that
--       the buyer has shown, or ''.
-- Reply PLACE   number, generation, '1' if it is new, CURRENT, LEFT or USED (its admission was spent), when its admission runs out in ms
--               ('' while it waits)
--       CLOSED  the room is closed, or its window is over
--       SOLD    the buyer has no place and no new ones are given out
--       EARLY   when buyers may join and when they are admitted, in ms ('' if that has no bound): the buyer has no place yet
--       FULL    the numbers have run out: a block has to be reserved and granted
-- Idempotent by the buyer: a place is kept until its admission was spent or has run out, or it was given back. Idempotent by the request,
-- too, as long as the buyer has no later place: the request that took a place is answered with it whatever has become of it.
local room = read_room()
if not room then
  return { 'GONE' }
end
if room.state == 'CLOSED' or is_over(room) then
  return reply('CLOSED', room)
end

local buyer = ARGV[1]
local known
if ARGV[4] == '' then
  known = record_of(buyer)
else
  known = record_by_ticket(room, buyer, tonumber(ARGV[4]), tonumber(ARGV[5]))
end
if known then
  local expires, mark = expires_ms(room, known.number), known.state == 'LEFT' and 'LEFT' or 'CURRENT'
  if expires and is_spent(known.number, known.generation) then
    mark = 'USED'
  end
  local good = mark == 'CURRENT' and (not expires or NOW < expires)
  if good or call('HGET', REQUESTS, buyer) == ARGV[2] then
    return reply('PLACE', room, { whole(known.number), whole(known.generation), '0', mark, optional(expires) })
  end
end
if ARGV[3] == '1' then
  return reply('SOLD', room)
end
if room.joins_ms and NOW < room.joins_ms then
  return reply('EARLY', room, { whole(room.joins_ms), optional(room.admits_ms) })
end
if room.next >= room.upto then
  return reply('FULL', room)
end

room.next = room.next + 1
-- Within an era the number tells two places apart, also where the generations have run out.
local generation = math.max(room.era * PER_ERA, math.min(known and known.generation + 1 or 0, (room.era + 1) * PER_ERA - 1))
call('HSET', ROOM, 'next', whole(room.next))
keep_record(buyer, room.next, generation, 'WAITING')
call('HSET', REQUESTS, buyer, ARGV[2])
seal(room)
return reply('PLACE', room, { whole(room.next), whole(generation), '1', 'CURRENT', '' })
