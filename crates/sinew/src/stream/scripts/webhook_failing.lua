-- Notes that a delivery of a webhook has failed, and says for how long none has succeeded.
-- KEYS[1] those that fail: a hash of '<since> <last>' by name, in ms since 1970
-- ARGV[1] name  ARGV[2] it begins anew when the last failure was longer ago than this, in ms
-- Returns for how long, in ms
-- One script, because another may take back what is there between the look and the write.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local since, last = string.match(found, '^(%d+) (%d+)$')
-- What another server's clock has noted may be yet to come.
if not since or tonumber(since) > now or now - tonumber(last) > tonumber(ARGV[2]) then
  since = now
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %.0f', since, now))
return math.max(0, now - tonumber(since))
