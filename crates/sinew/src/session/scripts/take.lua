-- Takes a datum out of a session.
-- KEYS without the index  ARGV[1] for how long it may go unused, in ms  ARGV[2] its name
-- Returns {version, JSON or ''} · {0, ''} it has ended
-- One script, because of all who ask at once, one is to have it.

local s = live(tonumber(ARGV[1]))
if not s then
  return {0, ''}
end
local name, expiry = ARGV[2], '_x:' .. ARGV[2]
local json, over = unpack(redis.call('HMGET', SESSION, name, expiry))
if not json then
  return {s.v, ''}
end
s.v, s.n, s.len = s.v + 1, s.n - 1, s.len - #json - #name
if over then
  s.timed = s.timed - 1
end
write(s, {}, {name, expiry})
over = tonumber(over)
return {s.v, over and over <= now and '' or json}
