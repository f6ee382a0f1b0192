-- Reads a room and, if a buyer is given, where their ticket stands. Writes nothing but a record that was lost.
--
-- ARGV  1 the buyer or '', 2 the ticket's number, 3 its generation.
-- Reply READ  '' or, for a ticket, CURRENT, USED (its admission was spent), LEFT or REPLACED (a later place was taken), and when its
--             admission runs out in ms ('' while it waits)
local room = read_room()
if not room then
  return { 'GONE' }
end
if ARGV[1] == '' then
  return reply('READ', room, { '', '' })
end
local number, generation = tonumber(ARGV[2]), tonumber(ARGV[3])
local known = record_by_ticket(room, ARGV[1], number, generation)
local expires, mark = expires_ms(room, number), 'CURRENT'
if expires and is_spent(number, generation) then
  mark = 'USED'
elseif known and is_later(known, { number = number, generation = generation }) then
  mark = 'REPLACED'
elseif known and known.number == number and known.state == 'LEFT' then
  mark = 'LEFT'
end
return reply('READ', room, { mark, optional(expires) })
