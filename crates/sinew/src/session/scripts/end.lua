-- Ends a session.
-- ARGV[1] '1' to be told what it had
-- Returns {1, it or ''} · {0, ''} it had ended
-- One script, because what it had may change between the look and the end.

local s = live()
bury(SESSION)
if INDEX then
  redis.call('ZREM', INDEX, string.sub(SESSION, -ID_LEN))
end
return {s and 1 or 0, s and ARGV[1] == '1' and s.text or ''}
