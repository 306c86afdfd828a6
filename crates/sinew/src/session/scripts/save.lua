-- Saves changes of a session, unless it has ended: nothing brings it back.
-- ARGV[1] for how long it may go unused, in ms  ARGV[2] the version that it must have, '' any  ARGV[3] another end, or ''
-- ARGV[4] most data  ARGV[5] most bytes  ARGV[6] the changes, as change() has them
-- Returns {1, version, how long it is, when it was used, when it ends, now} · {0} it has ended · {2} another version
-- · {3} no room
-- One script, because it may end, or be changed, between the look and the write.

local own = tonumber(ARGV[1])
local s = live(own)
if not s then
  return {0}
end
local fits, is_no_larger = change(s, 6, tonumber(ARGV[4]), tonumber(ARGV[5]))
if ARGV[2] ~= '' and tonumber(ARGV[2]) ~= s.v then
  return {2}
elseif not fits then
  return {3}
end
s.v = s.v + 1
local is_used = ARGV[3] ~= '' or s.idle > 0 and (s.idle ~= own or now - s.seen > math.floor(s.idle / 10))
if is_used then
  s.ends = at(ARGV[3]) or s.ends
  use(s, own)
end
local len = write(s, is_no_larger)
if is_used then
  lasts(s)
end
return {1, s.v, len, s.seen, s.ends, now}
