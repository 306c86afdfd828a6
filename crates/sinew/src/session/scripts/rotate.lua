-- Gives a session another id: the one before opens nothing any more.
-- KEYS[1] the session under its new id  KEYS[2] under the one before  KEYS[3] epoch and KEYS[4] index, of a user's
-- ARGV[1] for how long it may go unused, in ms  ARGV[2] its end where it begins anew, or ''
-- ARGV[3] how long the epoch is kept, in ms  ARGV[4] device, '' as it is  ARGV[5] address, '-' as it is
-- Returns {when it began, was used, ends} · {} it has ended
-- One script, because it is never to be under both ids, or under none.

local new, own = KEYS[1], tonumber(ARGV[1])
SESSION, EPOCH, INDEX = KEYS[1], KEYS[3], KEYS[4]
local s = live(own)
if s then
  -- By this very call, of which the reply was lost: no one else knows the new id.
  return {s.made, s.seen, s.ends}
end
SESSION = KEYS[2]
s = live(own)
if not s then
  return {}
end
redis.call('RENAME', SESSION, new)
redis.call('SET', SESSION, 'ended', 'PX', 60000)
if INDEX then
  redis.call('ZREM', INDEX, string.sub(SESSION, -ID_LEN))
end
SESSION = new
if ARGV[2] ~= '' then
  s.made, s.ends = now, at(ARGV[2])
  if EPOCH then
    keep(EPOCH, tonumber(ARGV[3]))
  end
end
if ARGV[4] ~= '' or ARGV[5] ~= '-' then
  local address, len, rest = string.match(s.who, '^(%S+) (%d+) (.*)$')
  local user, device = string.sub(rest, 1, len), string.sub(rest, len + 1)
  address = ARGV[5] ~= '-' and ARGV[5] or address
  device = ARGV[4] ~= '' and ARGV[4] or device
  s.who = address .. ' ' .. len .. ' ' .. user .. device
end
use(s, own)
write(s)
lasts(s)
return {s.made, s.seen, s.ends}
