-- Gives up what a token has, the lock or its place in line, and wakes who is next.
-- KEYS[1] holders  KEYS[2] line  KEYS[3] waiters  KEYS[4] claim   ARGV[1] token  ARGV[2] channel of processes
-- Returns 1 it held the lock · 0 it did not
-- One script, because whoever is first in line must not be overtaken by whoever comes right now.

local someone_waits = redis.call('ZCARD', KEYS[2]) > 0
if someone_waits then
  -- A key of another type is to change nothing.
  redis.call('ZCARD', KEYS[3])
end
local freed = redis.call('ZREM', KEYS[1], ARGV[1], ARGV[1] .. '!')
if someone_waits then
  local left = redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
  if freed + left > 0 then
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    tidy(now)
    wake(now, ARGV[2])
  end
end
return freed
