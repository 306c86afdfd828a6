-- Writes or removes a webhook, if it is still the one that is expected.
-- KEYS[1] the webhooks: a hash of '<revision> <definition>' by name, and of the last revision by ':revision'
-- ARGV[1] name  ARGV[2] expected revision: 0 none; '' whatever there is  ARGV[3] definition; '' to remove it
-- ARGV[4] most webhooks
-- Returns {1, revision, was there} done · {0, revision there, 0} another revision is there · {2, 0, 0} full
-- One script, because another may change it between the look and the write.

local found = redis.call('HGET', KEYS[1], ARGV[1])
-- What is not ours is as good as nothing.
local revision = math.min(tonumber(string.match(found or '', '^(%d+) ') or 0), 2 ^ 53)
if ARGV[2] ~= '' and tonumber(ARGV[2]) ~= revision then
  return {0, revision, 0}
end
if not found then
  if ARGV[3] == '' then
    return {1, 0, 0}
  end
  local defined = redis.call('HLEN', KEYS[1]) - redis.call('HEXISTS', KEYS[1], ':revision')
  if defined >= tonumber(ARGV[4]) then
    return {2, 0, 0}
  end
end

-- No revision is used twice, also not by a webhook that was removed and defined again.
local last = string.match(redis.call('HGET', KEYS[1], ':revision') or '', '^%d+$')
revision = math.min(math.max(tonumber(last or 0), revision) + 1, 2 ^ 53)
local text = string.format('%.0f', revision)
redis.call('HSET', KEYS[1], ':revision', text)
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], text .. ' ' .. ARGV[3])
end
return {1, revision, found and 1 or 0}
