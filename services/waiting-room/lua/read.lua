-- Reads a room and, if a buyer is given, where their ticket stands. Writes nothing.
--
-- ARGV  1 the buyer or '', 2 the ticket's number, 3 its generation.
-- Reply READ  '' or, for a ticket, CURRENT, USED (its admission was spent), LEFT or REPLACED (a later place was taken), and when its
--             admission runs out in ms ('' while it waits)
-- A ticket without a record is current: its signature says that it was given out, and the record went with an earlier server.
local room = read_room()
if not room then
  return { 'GONE' }
end
if ARGV[1] == '' then
  return reply('READ', room, { '', '' })
end
local number, generation = tonumber(ARGV[2]), tonumber(ARGV[3])
local known = record_of(ARGV[1])
local expires, mark = expires_ms(room, number), 'CURRENT'
if expires and is_spent(number, generation) then
  mark = 'USED'
elseif known and known.number == number then
  mark = known.state == 'LEFT' and 'LEFT' or 'CURRENT'
elseif known and known.generation > generation then
  mark = 'REPLACED'
end
return reply('READ', room, { mark, optional(expires) })
