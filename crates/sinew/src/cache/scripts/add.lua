-- Adds to a counter, which begins at 0 and then lives for its TTL.
-- KEYS[1] counter   ARGV[1] by  ARGV[2] TTL in ms
-- Returns what it is then, as text · nil where it would overflow, or is no number
-- One script, because a counter without a TTL would live for ever.

local count = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(count) ~= 'number' then
  local is_for_good = string.find(count.err, 'overflow') or string.find(count.err, 'not an integer')
    or string.find(count.err, 'WRONGTYPE')
  return not is_for_good and count or nil
end
if redis.call('PTTL', KEYS[1]) < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
-- As text: a number of Lua is exact up to 2^53 only.
return redis.call('GET', KEYS[1])
