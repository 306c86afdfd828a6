-- Saves changes of a session, unless it has ended: nothing brings it back.
-- ARGV[1] for how long it may go unused, in ms  ARGV[2] the version that it must have, '' any  ARGV[3] another end, or ''
-- ARGV[4] most data  ARGV[5] most bytes  ARGV[6] the changes, as changes() has them
-- Returns {1, version, when it was used, when it ends, now} · {0} it has ended · {2} another version · {3} no room
-- One script, because it may end, or be changed, between the look and the write.

local own = tonumber(ARGV[1])
local s = live(own)
if not s then
  return {0}
elseif ARGV[2] ~= '' and tonumber(ARGV[2]) ~= s.v then
  return {2}
end
local set, gone = changes(s, 6, tonumber(ARGV[4]), tonumber(ARGV[5]))
if not set then
  return {3}
end
s.v = s.v + 1
local is_used = ARGV[3] ~= '' or is_due(s, own)
if is_used then
  s.ends = at(ARGV[3]) or s.ends
  use(s, own)
end
write(s, set, gone)
if is_used then
  lasts(s)
end
return {1, s.v, s.seen, s.ends, now}
