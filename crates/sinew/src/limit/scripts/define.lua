-- Writes or removes the definition of a limit, if it is still the one that is expected, and notes the change.
-- KEYS[1] the definitions: a hash of '<revision> <definition>' by name, and of the last revision by ':revision'
-- KEYS[2] the changes: a list, the newest first
-- ARGV[1] name  ARGV[2] expected revision: 0 none; '' whatever there is  ARGV[3] definition; '' to remove it
-- ARGV[4] by whom  ARGV[5] most definitions  ARGV[6] most changes
-- Returns {1, revision, definition before or ''} done · {0, revision, ''} another revision is there · {2, 0, ''} full
-- One script, because another may change it between the look and the write.

local found = redis.call('HGET', KEYS[1], ARGV[1])
-- What is not ours is as good as nothing.
local revision, before = string.match(found or '', '^(%d+) (.+)$')
revision = math.min(tonumber(revision or 0), 2 ^ 53)
if ARGV[2] ~= '' and tonumber(ARGV[2]) ~= revision then
  return {0, revision, ''}
end
if not found then
  if ARGV[3] == '' then
    return {1, 0, ''}
  end
  local defined = redis.call('HLEN', KEYS[1]) - redis.call('HEXISTS', KEYS[1], ':revision')
  if defined >= tonumber(ARGV[5]) then
    return {2, 0, ''}
  end
end

-- No revision is used twice, also not by a limit that was removed and defined again.
local last = string.match(redis.call('HGET', KEYS[1], ':revision') or '', '^%d+$')
revision = math.min(math.max(tonumber(last or 0), revision) + 1, 2 ^ 53)
local text = string.format('%.0f', revision)
local time = redis.call('TIME')
local change = {at_ms = time[1] * 1000 + math.floor(time[2] / 1000), by = ARGV[4], name = ARGV[1], before = before}
if ARGV[3] ~= '' then
  change.after = ARGV[3]
end
-- First: where there is no list, or no room, this fails before anything has changed.
redis.call('LPUSH', KEYS[2], cjson.encode(change))
redis.call('LTRIM', KEYS[2], 0, ARGV[6] - 1)
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], text .. ' ' .. ARGV[3])
end
redis.call('HSET', KEYS[1], ':revision', text)
return {1, revision, before or ''}
