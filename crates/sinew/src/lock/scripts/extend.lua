-- Prolongs a hold. Never shortens it, and never brings one back that has run out.
-- KEYS[1] holders  KEYS[2] fence   ARGV[1] token  ARGV[2] TTL in ms
-- Returns 1 prolonged · 0 not a holder
-- One script, because the lock may pass on between the check and the write.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held_until = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
if held_until <= now then
  return 0
end
held_until = string.format('%.0f', math.max(held_until, now + ARGV[2]))
-- First: a Redis that is full refuses a script whose first write needs memory.
redis.call('PEXPIRE', KEYS[2], '172800000')
redis.call('ZADD', KEYS[1], held_until, ARGV[1])
redis.call('PEXPIREAT', KEYS[1], held_until, 'GT')
return 1
