-- Says that a process lives, and counts those that do.
-- KEYS[1] the processes: a sorted set of ids by the ms of their last heartbeat
-- ARGV[1] id  ARGV[2] ms after which a process without a heartbeat is gone
-- Returns how many live, this one included
-- One script, because a set without an expiry would outlive the last of them.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then
  redis.call('UNLINK', KEYS[1])
end
-- First, so that the key is never missing: while its slot moves, it could not be written again.
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[2]))
-- In the future: the clock was set back. Whoever lives says so again.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
