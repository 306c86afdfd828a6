-- Ends a session.
-- ARGV[1] '1' to be told what it had
-- Returns {1, its fields or nothing} · {0, nothing} it had ended
-- One script, because what it had may change between the look and the end.

local s = live()
local had = s and ARGV[1] == '1' and redis.call('HGETALL', SESSION) or {}
redis.call('UNLINK', SESSION)
if INDEX then
  redis.call('ZREM', INDEX, string.sub(SESSION, -ID_LEN))
end
return {s and 1 or 0, had}
