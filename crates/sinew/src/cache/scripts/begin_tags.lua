-- Makes the tags of a cache where there are none, and sees to it that they live long enough.
-- KEYS[1] tags   ARGV[1] random bytes  ARGV[2] TTL in ms
-- Returns 1 made · 0 they were there
-- One script, because two that make them at once would each date its entries with its own.

-- What someone else has written there is as good as nothing.
local function is_ours()
  local gen, n = redis.pcall('HGET', KEYS[1], 'gen'), redis.pcall('HGET', KEYS[1], 'n')
  return type(gen) == 'string' and string.match(gen, '^%x+$') and #gen == 16
    and type(n) == 'string' and string.match(n, '^%d+$') and #n < 16
end

local made = 0
if not is_ours() then
  redis.call('UNLINK', KEYS[1])
  -- With the time: the same request that runs again later must not bring a generation back.
  local time = redis.call('TIME')
  local seed = redis.sha1hex(ARGV[1] .. time[1] .. '.' .. time[2])
  redis.call('HSET', KEYS[1], 'gen', string.sub(seed, 1, 16), 'n', '0', 'ttl', ARGV[2])
  made = 1
end
-- The longest TTL that anyone has asked for: a tag is forgotten only after that.
if (tonumber(redis.call('HGET', KEYS[1], 'ttl') or '0') or 0) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'ttl', ARGV[2])
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return made
