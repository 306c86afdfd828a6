-- Notes that a delivery of a webhook has failed, and says since when none has succeeded.
-- KEYS[1] those that fail: a hash of '<since> <last>' by name, in ms since 1970
-- ARGV[1] name  ARGV[2] now, in ms  ARGV[3] it begins anew when the last failure was longer ago than this, in ms
-- Returns since when, in ms
-- One script, because another may take back what is there between the look and the write.

local found = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local since, last = string.match(found, '^(%d+) (%d+)$')
if not since or tonumber(ARGV[2]) - tonumber(last) > tonumber(ARGV[3]) then
  since = ARGV[2]
end
redis.call('HSET', KEYS[1], ARGV[1], since .. ' ' .. ARGV[2])
return tonumber(since)
