-- Joins a group, and makes it where it is not, or moves it forward where it is older than what is known of it.
-- KEYS[1] log  KEYS[2] groups  KEYS[3] members  KEYS[4] owner  KEYS[5] due  KEYS[6] tries
-- ARGV[1] group  ARGV[2] who  ARGV[3] lease in ms  ARGV[4] 'any' or 'key'  ARGV[5] where a new one starts: '0', '$', an id
-- ARGV[6] after how long a group is forgotten, in ms, or ''
-- then checkpoints: '=' all up to the id, '<' all below it are finished; newest first
-- Returns {1, now, 0 it was there · 1 made · 2 moved, from where or '', the last id when people moved it or '',
--   when it was made in µs, the last id that the stream gave}
--   · {0, mode} live ones use the other mode
-- One script, because what is known counts only for the very stream that has it.

local GROUPS, MEMBERS, OWN, DUE = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local group, who, lease, mode = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local was, sought, born = unpack(redis.call('HMGET', GROUPS, group .. ':mode', group .. ':sought', group .. ':born'))
if was and was ~= mode then
  local ends = tonumber(redis.call('HGET', OWN, 'until') or 0)
  if redis.call('ZCOUNT', MEMBERS, int(now), '+inf') > 0 or ends > now then
    return {0, was}
  end
end

-- A replica's stream is a prefix of its primary's: where an entry is, all before it are.
local from
if redis.call('EXISTS', LOG) == 1 then
  for i = 7, #ARGV do
    local id = string.sub(ARGV[i], 2)
    if is_there(id) then
      from = string.sub(ARGV[i], 1, 1) == '=' and id or before(id)
      break
    end
  end
end

local made, start = 0, from or (#ARGV >= 7 and '0') or ARGV[5]
local created = redis.pcall('XGROUP', 'CREATE', LOG, group, start, 'MKSTREAM')
if not (type(created) == 'table' and created.err) then
  made, born = 1, int(TIME[1] * 1000000 + TIME[2])
  redis.call('HSET', GROUPS, group .. ':born', born)
  -- What had a time is read anew.
  redis.call('DEL', DUE)
elseif not string.find(created.err, 'BUSYGROUP', 1, true) then
  return created
elseif from and (not sought or less(sought, from)) then
  -- What is known from before people moved it would undo that.
  while true do
    local ids = ids_of(redis.call('XPENDING', LOG, group, '-', from, 1000))
    if #ids == 0 then
      break
    end
    redis.call('XACK', LOG, group, unpack(ids))
    forget_tries(KEYS[6], DUE, ids)
    made = 2
  end
  if less(group_of(group)[8], from) then
    redis.call('XGROUP', 'SETID', LOG, group, from)
    made = 2
  end
end
redis.call('HSET', GROUPS, group .. ':mode', mode, group .. ':seen', int(now))
if ARGV[6] ~= '' then
  redis.call('HSET', GROUPS, 'forget', ARGV[6])
end
-- One that has fallen learns so by its next tick, and keeps its mark.
if tonumber(redis.call('ZSCORE', MEMBERS, who) or 0) >= 0 then
  redis.call('ZADD', MEMBERS, int(now + lease), who)
end
return {1, now, made, from or '', sought or '', tonumber(born or 0), last_id()}
