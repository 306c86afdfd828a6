-- Takes a datum out of a session.
-- KEYS without the index  ARGV[1] for how long it may go unused, in ms  ARGV[2] its name, '-' and '', as change() has them
-- Returns {version, JSON or ''} · {0, ''} it has ended
-- One script, because of all who ask at once, one is to have it.

local s = live(tonumber(ARGV[1]))
if not s then
  return {0, ''}
end
local _, _, json = change(s, 2, math.huge, math.huge)
if json then
  s.v = s.v + 1
  write(s, true)
end
return {s.v, json or ''}
