-- Notes that a session is used.
-- ARGV[1] for how long it may go unused, in ms
-- Returns when, in ms · 0 it has ended
-- One script, because it may end between the look and the write.

local own = tonumber(ARGV[1])
local s = live(own)
if not s then
  return 0
end
use(s, own)
-- First: a Redis that is full refuses a script whose first write needs memory.
redis.call('PEXPIREAT', SESSION, int(s.ends))
write(s)
lasts(s)
return s.seen
