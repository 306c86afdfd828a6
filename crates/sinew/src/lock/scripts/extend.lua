-- Prolongs a hold. Never shortens it, and never brings one back that has run out.
-- KEYS[1] holders  KEYS[2] fence, unless it is a permit   ARGV[1] token  ARGV[2] TTL in ms
-- Returns 1 prolonged · 0 not a holder
-- One script, because the lock may pass on between the check and the write. It names no key that need not be there:
-- while a slot moves, a script whose keys are not all on one node is refused.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local as = ARGV[1]
local held_until = redis.call('ZSCORE', KEYS[1], as)
if not held_until then
  -- So it is called while someone waits; see line.lua.
  as = as .. '!'
  held_until = redis.call('ZSCORE', KEYS[1], as)
end
held_until = tonumber(held_until or 0)
if held_until <= now then
  return 0
end
held_until = math.max(held_until, now + ARGV[2])
-- First: a Redis that is full refuses a script whose first write needs memory.
redis.call('PEXPIREAT', KEYS[1], held_until, 'GT')
redis.call('ZADD', KEYS[1], held_until, as)
if KEYS[2] then
  redis.call('PEXPIRE', KEYS[2], '172800000')
end
return 1
