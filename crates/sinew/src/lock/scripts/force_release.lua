-- Takes a lock from all who hold it, and wakes who is next.
-- KEYS[1] holders  KEYS[2] line  KEYS[3] waiters  KEYS[4] claim   ARGV[1] channel of processes
-- Returns how many held it
-- One script, because a holder that comes between counting and taking would not be counted.

redis.call('ZCARD', KEYS[2])
redis.call('ZCARD', KEYS[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('ZCOUNT', KEYS[1], '(' .. int(now), '+inf')
redis.call('UNLINK', KEYS[1])
tidy(now)
wake(now, ARGV[1])
return held
