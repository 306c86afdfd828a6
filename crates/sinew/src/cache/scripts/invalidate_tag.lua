-- Makes the entries of a cache that have a tag out of date, or all of them.
-- KEYS[1] tags   ARGV[1] field of the tag, or ''  ARGV[2] random bytes  ARGV[3] TTL in ms
-- Returns 1
-- One script, because a sequence that two invalidations share would let a load between them pass.

-- What someone else has written there is as good as nothing.
local function is_ours()
  local gen, n = redis.pcall('HGET', KEYS[1], 'gen'), redis.pcall('HGET', KEYS[1], 'n')
  return type(gen) == 'string' and string.match(gen, '^%x+$') and #gen == 16
    and type(n) == 'string' and string.match(n, '^%d+$') and #n < 16
end

-- Deletes first, if nothing: a Redis that is full refuses a script whose first write needs memory.
redis.pcall('HDEL', KEYS[1], '')
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = tonumber(ARGV[3])
local known = redis.pcall('HGET', KEYS[1], 'ttl')
if type(known) == 'string' then
  ttl = math.max(ttl, tonumber(known) or 0)
end
if not is_ours() or ARGV[1] == '' then
  local seed = redis.sha1hex(ARGV[2] .. time[1] .. '.' .. time[2])
  redis.call('UNLINK', KEYS[1])
  redis.call('HSET', KEYS[1], 'gen', string.sub(seed, 1, 16), 'n', '0')
end
if ARGV[1] ~= '' then
  local n = redis.call('HINCRBY', KEYS[1], 'n', 1)
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %.0f', n, now_ms))
  -- A few at a time: tags that were invalidated so long ago that no entry is older.
  local some = redis.call('HRANDFIELD', KEYS[1], 4, 'WITHVALUES')
  for at = 1, #some, 2 do
    local made_ms = string.match(some[at + 1], '^%d+ (%d+)$')
    if made_ms and tonumber(made_ms) + ttl < now_ms then
      redis.call('HDEL', KEYS[1], some[at])
    end
  end
end
redis.call('HSET', KEYS[1], 'ttl', string.format('%.0f', ttl))
if redis.call('PTTL', KEYS[1]) < ttl then
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ttl))
end
return 1
