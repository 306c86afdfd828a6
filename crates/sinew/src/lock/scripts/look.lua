-- Shows a lock: who holds it, for how long still, and how many wait.
-- KEYS[1] holders  KEYS[2] waiters  KEYS[3] fence   ARGV[1] how many holders at most
-- Returns {µs now, fence or '', how many hold, how many wait, {token, ms left, token, ms left, …}}
-- One script, because parts that are read one after the other would not fit together.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local after = '(' .. string.format('%.0f', now)
local some = redis.call('ZRANGEBYSCORE', KEYS[1], after, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[1])
for i = 2, #some, 2 do
  some[i] = tonumber(some[i]) - now
end
return {
  time[1] * 1000000 + time[2],
  redis.call('GET', KEYS[3]) or '',
  redis.call('ZCOUNT', KEYS[1], after, '+inf'),
  redis.call('ZCOUNT', KEYS[2], after, '+inf'),
  some,
}
