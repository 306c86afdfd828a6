-- Ends all sessions of a user, however many there are, but for one that is to stay.
-- KEYS[1] epoch  KEYS[2] index  KEYS[3] the one that stays, if any   ARGV[1] how long the epoch is kept, in ms
-- Returns 1 · 0 there was none
-- One script, because one that begins meanwhile is either of the old epoch or of the new one.

local REMOVED_MAX = 1000

EPOCH, INDEX, SESSION = KEYS[1], KEYS[2], KEYS[3]
local before = redis.call('GET', EPOCH)
if not before then
  -- Without their epoch they have ended already.
  redis.call('UNLINK', INDEX)
  return 0
end
local s = SESSION and live()
local ids = redis.call('ZRANGE', INDEX, 0, REMOVED_MAX)
-- First: a Redis that is full refuses a script whose first write needs memory.
redis.call('UNLINK', INDEX)
-- Greater than any before, also where the clock was set back.
local epoch = int(math.max(now_us, (tonumber(before) or 0) + 1))
redis.call('SET', EPOCH, epoch, 'KEEPTTL')
keep(EPOCH, tonumber(ARGV[1]))
if s then
  s.epoch = tonumber(epoch)
  write(s)
  lasts(s)
end
if #ids <= REMOVED_MAX then
  -- No one would find them live. That they are gone is what a save without a look at the epoch goes by; of so many that
  -- they would keep Redis from others, and of those on their way to another node, it is not told.
  local root = string.sub(EPOCH, 1, -#'epoch' - 1) .. 's:'
  for _, id in ipairs(ids) do
    if not (s and root .. id == SESSION) then
      pcall(bury, root .. id)
    end
  end
end
return 1
