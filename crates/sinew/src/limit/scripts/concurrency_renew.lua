-- Holds a place for longer.
-- KEYS[1] the places that are held   ARGV[1] token  ARGV[2] µs that it is held for from now
-- Returns 1 held · 0 it has ended, and may be another's
-- One script, because the place may pass on between the look and the write.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ends = redis.pcall('ZSCORE', KEYS[1], ARGV[1])
-- What is not ours is as good as nothing. Any other error is one.
if type(ends) == 'table' and string.sub(ends.err, 1, 9) ~= 'WRONGTYPE' then
  return ends
end
if type(ends) ~= 'string' or tonumber(ends) <= now then
  return 0
end
-- First: a Redis that is full refuses a script whose first write needs memory.
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(ARGV[2] / 1000)))
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((tonumber(last[2]) - now) / 1000)))
return 1
