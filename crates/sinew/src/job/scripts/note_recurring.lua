-- Notes in which queue a recurring job is.
-- KEYS[1] where that is noted   ARGV[1] name  ARGV[2] queue, or '' none
-- Returns where it was, or ''
-- One script, because of two that move it each is to learn of the other's queue.

local was = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return was
