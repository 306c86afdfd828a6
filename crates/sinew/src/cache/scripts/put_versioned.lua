-- Stores a value if it is newer than what is there, and revokes any load under way.
-- KEYS[1] entry  KEYS[2] lease  KEYS[3] version
-- ARGV[1] bytes  ARGV[2] TTL in ms  ARGV[3] version, 20 digits
-- Returns 1 stored · 0 there is one as new · -1 one was invalidated of late, and no one knows how new
-- One script, because another version may be written between the look and the write.

local version = redis.pcall('GET', KEYS[3])
-- Compared as text: a number of Lua is exact up to 2^53 only.
if version == '99999999999999999999' then
  -- What a reader has stored since may be older than this write: neither is kept.
  redis.call('UNLINK', KEYS[1], KEYS[2])
  redis.call('SET', KEYS[1], '', 'PX', 1000)
  redis.call('UNLINK', KEYS[1])
  return -1
end
if type(version) == 'string' and #version == 20 then
  if version > ARGV[3] or (version == ARGV[3] and redis.call('EXISTS', KEYS[1]) == 1) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[2])
redis.call('UNLINK', KEYS[2])
return 1
