-- Takes a place under a concurrency limit, if one is free.
-- KEYS[1] the places that are held: a sorted set of tokens by the µs at which they end
-- ARGV[1] token  ARGV[2] places  ARGV[3] µs that a place is held for
-- ARGV[4] µs that any place is held for at most
-- Returns 0 held · µs until the next place ends by itself
-- One script, because two callers must not both take the last place.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ends, longest = now + ARGV[3], now + ARGV[4]
local function text(number)
  return string.format('%.0f', number)
end
local function last_ends()
  local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
  return last[2] and tonumber(last[2]) or now
end

-- What someone else has written there is as good as nothing.
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then
  redis.call('UNLINK', KEYS[1])
end
-- The key is never missing in between: while its slot moves, it could not be written again. So the last
-- that have ended go only once there is a new one.
local is_empty = last_ends() <= now
if not is_empty then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))
end
-- Later than any can be: the clock was set back. It ends with this one at the latest.
local adrift = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. text(longest), '+inf', 'LIMIT', 0, 500)
for _, token in ipairs(adrift) do
  redis.call('ZADD', KEYS[1], text(ends), token)
end
-- A request that is sent again may hold one already.
if not is_empty and not redis.call('ZSCORE', KEYS[1], ARGV[1])
  and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return tonumber(first[2]) - now
end
redis.call('ZADD', KEYS[1], text(ends), ARGV[1])
if is_empty then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))
end
redis.call('PEXPIRE', KEYS[1], text(math.ceil((last_ends() - now) / 1000)))
return 0
