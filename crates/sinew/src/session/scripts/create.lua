-- Begins a session. Where its user has as many as may be, it makes room, or does nothing.
-- ARGV[1] for how long it may go unused, in ms  ARGV[2] when it ends  ARGV[3] '1' whatever is there is another one
-- ARGV[4] how many its user may have, 0 any number  ARGV[5] '1' to end the oldest  ARGV[6] how long the epoch is kept, in ms
-- ARGV[7] user, '' nobody  ARGV[8] device  ARGV[9] address, '-' none  ARGV[10] its data, as change() has them
-- Returns {1, when it began, when it ends, how many were ended for it} · {0} refused · {2} another one is there
-- One script, because two that begin at once would both find the last place. It names keys of others that it ends:
-- which they are, only the index knows, and they are in the same slot.

local LOOKED_AT = 1000

-- How many ended to make room for one more; nothing where none may.
local function make_room(most, evicts)
  redis.call('ZREMRANGEBYSCORE', INDEX, '-inf', int(now))
  local over = redis.call('ZCARD', INDEX) - most + 1
  if over <= 0 then
    return 0
  end
  local root, there = string.sub(SESSION, 1, -ID_LEN - 1), {}
  for i, id in ipairs(redis.call('ZRANGE', INDEX, 0, LOOKED_AT - 1)) do
    local text = redis.call('GETRANGE', root .. id, 0, HEAD_LEN - 1)
    if #text == HEAD_LEN and string.sub(text, 1, 1) == 'S' then
      local _, _, seen = struct.unpack('>c1dd', text)
      there[#there + 1] = {id = id, seen = seen, i = i}
    else
      -- Redis was full, or someone removed it.
      redis.call('ZREM', INDEX, id)
      over = over - 1
    end
  end
  if over <= 0 then
    return 0
  elseif not evicts then
    return nil
  end
  -- The index tells which ends first: that depends on more than on when it was used.
  table.sort(there, function(a, b)
    return a.seen < b.seen or a.seen == b.seen and a.i < b.i
  end)
  over = math.min(over, #there)
  for i = 1, over do
    bury(root .. there[i].id)
    redis.call('ZREM', INDEX, there[i].id)
  end
  return over
end

local s = live()
if s and ARGV[3] == '1' then
  return {2}
elseif s then
  -- By this very call, of which the reply was lost: no one else knows its id.
  return {1, s.made, s.ends, 0}
end

-- First what a full Redis refuses: once anything else was written, it would take all that follows.
redis.call('SET', SESSION, '')
redis.call('UNLINK', SESSION)

local epoch, ended = nil, 0
if EPOCH then
  epoch = redis.call('GET', EPOCH)
  if not epoch then
    -- Nothing that is there is of an epoch that comes again.
    redis.call('UNLINK', INDEX)
  end
  local most = tonumber(ARGV[4])
  if most > 0 then
    ended = make_room(most, ARGV[5] == '1')
    if not ended then
      return {0}
    end
  end
  if not epoch then
    epoch = int(now_us)
    redis.call('SET', EPOCH, epoch)
  end
  keep(EPOCH, tonumber(ARGV[6]))
end

local who = ARGV[9] .. ' ' .. #ARGV[7] .. ' ' .. ARGV[7] .. ARGV[8]
s = {
  v = 1, seen = now, ends = at(ARGV[2]), idle = tonumber(ARGV[1]), made = now, epoch = tonumber(epoch) or 0,
  who = who, text = '', data_at = 1,
}
-- How large it is was looked at before.
change(s, 10, math.huge, math.huge)
write(s)
lasts(s)
return {1, s.made, s.ends, ended}
