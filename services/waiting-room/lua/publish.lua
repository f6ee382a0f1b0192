-- Moves the head to a number that stands in Postgres, and writes down when.
--
-- ARGV  1 the head, 2 how many ticks are kept without question.
-- Reply PUBLISHED  by how many numbers this call has moved the head
-- Idempotent: the head never goes back, and never passes the numbers that were given out. It stands outside the room's window, also if the
-- number was planned within it.
local room = read_room()
if not room then
  return { 'GONE' }
end
local before = room.head
local head = math.min(tonumber(ARGV[1]), room.next)
if head > room.head and admits(room) then
  room.head, room.planned = head, math.max(room.planned, head)
  call('HSET', ROOM, 'head', whole(head), 'planned', whole(room.planned))
  call('ZADD', TICKS, whole(head), table.concat({ whole(head), whole(room.admission_ms), whole(room.paused_ms), whole(NOW) }, ':'))
  seal(room)
  -- The two oldest ticks tell the same once both are over: one of them will do.
  if call('ZCARD', TICKS) > tonumber(ARGV[2]) then
    local second = call('ZRANGE', TICKS, 1, 1)[1]
    if ends_ms(room, second) + 1000 < NOW then
      call('ZREMRANGEBYRANK', TICKS, 0, 0)
    end
  end
end
return reply('PUBLISHED', room, { whole(room.head - before) })
