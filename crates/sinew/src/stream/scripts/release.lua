-- Gives a partition back.
-- KEYS[1] owner   ARGV[1] fence
-- Returns 1 done · 0 another has it

if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'until', 0)
return 1
