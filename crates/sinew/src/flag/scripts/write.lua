-- Writes the document if it is still the one that was read, and notes the change.
-- KEYS[1] the document: a hash of version and body, and of how many bytes the changes take
-- KEYS[2] the changes: a stream, each a text in the field 'change'
-- ARGV[1] version that was read: 0 none  ARGV[2] version from now on  ARGV[3] body
-- ARGV[4] the change  ARGV[5] the most changes that are kept  ARGV[6] the most bytes that they take
-- Returns 1 written · 0 another version is there
-- One script, because another may write between the look and the write.

local version = redis.call('HGET', KEYS[1], 'version') or '0'
if version ~= ARGV[1] then
  return 0
end
local count_max, len_max = tonumber(ARGV[5]), tonumber(ARGV[6])
local len = (tonumber(redis.call('HGET', KEYS[1], 'changes_len') or 0) or 0) + #ARGV[4]
-- First: where there is no stream, or no room, this fails before anything has changed.
redis.call('XADD', KEYS[2], '*', 'change', ARGV[4])
local count = redis.call('XLEN', KEYS[2])
if count == 1 then
  -- Whatever became of those before.
  len = #ARGV[4]
end
-- What is still too much goes with the next change: no write is to hold up Redis for long.
for _ = 1, 1000 do
  if count == 1 or (count <= count_max and len <= len_max) then
    break
  end
  local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', KEYS[2], oldest[1])
  count = count - 1
  len = math.max(len - #oldest[2][2], 0)
end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'body', ARGV[3], 'changes_len', len)
return 1
