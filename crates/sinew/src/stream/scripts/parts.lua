-- What the scripts of event streams have in common; it goes before each.

local TIME = redis.call('TIME')
local now = TIME[1] * 1000 + math.floor(TIME[2] / 1000)
local LOG = KEYS[1]
-- Whose the entries are that wait for a retry, and those of an ordered group.
local PARKED, ORDERED = '~parked', '~ordered'
local DAY = 86400000
-- As model/bounds.rs has them.
local FORGET_AFTER, TRIM_MAX = 7 * DAY, 10000

-- `..` would write the last digits of a large one away.
local function int(n)
  return string.format('%.0f', n)
end

local function split(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

-- As text: beyond 2 ^ 53, Lua's numbers would be equal.
local function is_less(a, b)
  return #a < #b or #a == #b and a < b
end

local function less(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  return is_less(a_ms, b_ms) or a_ms == b_ms and is_less(a_seq, b_seq)
end

-- The last id that an entry before this one may have; an earlier one where Lua cannot count as far.
local function before(id)
  local ms, seq = split(id)
  if seq > 0 then
    return int(ms) .. '-' .. int(math.min(seq, 2 ^ 53) - 1)
  end
  if ms == 0 then
    return '0-0'
  end
  return int(ms - 1) .. '-18446744073709551615'
end

-- Whether what pcall() answered says that the group is not there.
local function is_gone(reply)
  return type(reply) == 'table' and reply.err and (
    string.find(reply.err, 'NOGROUP', 1, true) or string.find(reply.err, 'UNBLOCKED', 1, true)
    or string.find(reply.err, 'no such key', 1, true)
    or string.find(reply.err, 'requires the key to exist', 1, true)) and true or false
end

-- So many entries at most that come after this id.
local function after(id, count)
  -- Beyond the greatest there is nothing, and Redis takes it for a mistake.
  if id == '18446744073709551615-18446744073709551615' then
    return {}
  end
  return redis.call('XRANGE', LOG, '(' .. id, '+', 'COUNT', count)
end

local function is_there(id)
  return #redis.call('XRANGE', LOG, id, id) > 0
end

-- What is done with needs no notes.
local function forget_tries(tries, due, ids)
  redis.call('ZREM', due, unpack(ids))
  if redis.call('HLEN', tries) > 0 then
    local names = {}
    for _, id in ipairs(ids) do
      names[#names + 1] = id
      names[#names + 1] = id .. ':d'
    end
    redis.call('HDEL', tries, unpack(names))
  end
end

-- Those of `asked` that are not among `entries` since they were deleted, hence lost.
local function missing(asked, entries, meta, tries, due)
  local has, lost = {}, {}
  for _, entry in ipairs(entries) do
    has[type(entry) == 'table' and entry[1] or entry] = true
  end
  for _, id in ipairs(asked) do
    if not has[id] and not is_there(id) then
      lost[#lost + 1] = id
      forget_tries(tries, due, {id})
    end
  end
  if #lost > 0 then
    redis.call('HINCRBY', meta, 'lost', #lost)
  end
  return lost
end

local function ids_of(pending)
  local ids = {}
  for i, one in ipairs(pending) do
    ids[i] = one[1]
  end
  return ids
end

-- Gives entries to another name without a delivery. What was deleted is no one's from then on.
local function move(group, to, ids, meta, tries, due)
  local moved = {}
  for i = 1, #ids, 500 do
    local some = {}
    for j = i, math.min(i + 499, #ids) do
      some[#some + 1] = ids[j]
    end
    some[#some + 1] = 'JUSTID'
    for _, id in ipairs(redis.call('XCLAIM', LOG, group, to, 0, unpack(some))) do
      moved[#moved + 1] = id
    end
  end
  missing(ids, moved, meta, tries, due)
  return moved
end

-- To each entry its note and its crashes.
local function with_tries(tries, entries)
  if #entries == 0 or redis.call('HLEN', tries) == 0 then
    return entries
  end
  local names = {}
  for _, entry in ipairs(entries) do
    names[#names + 1] = entry[1]
    names[#names + 1] = entry[1] .. ':d'
  end
  local told = redis.call('HMGET', tries, unpack(names))
  for i, entry in ipairs(entries) do
    entry[3], entry[4] = told[2 * i - 1] or '', tonumber(told[2 * i] or 0)
  end
  return entries
end

-- Under what name a holder has its entries, and whether all that it was given is its own still.
-- Nothing for a fence that is old.
local function held_by(who, holder)
  local name = string.sub(who, 2)
  if string.sub(who, 1, 1) == 'c' then
    return name, tonumber(redis.call('ZSCORE', holder, name) or -1) > 0
  elseif redis.call('HGET', holder, 'fence') == name then
    return ORDERED, true
  end
end

-- How many entries are under a lease that is not over, or an owner's who lives: of what XPENDING sums up.
local function leased_of(summary, members, own)
  local leased = 0
  for _, of in ipairs(summary[4] or {}) do
    local is_leased
    if of[1] == ORDERED then
      is_leased = tonumber(redis.call('HGET', own, 'until') or 0) > now
    else
      is_leased = tonumber(redis.call('ZSCORE', members, of[1]) or -1) >= now
    end
    leased = leased + (is_leased and tonumber(of[2]) or 0)
  end
  return leased
end

local function group_of(name)
  local groups = redis.pcall('XINFO', 'GROUPS', LOG)
  for _, group in ipairs(not groups.err and groups or {}) do
    if group[2] == name then
      return group
    end
  end
end

-- The last id that the stream gave.
local function last_id()
  local stream = redis.call('XINFO', 'STREAM', LOG)
  for i = 1, #stream, 2 do
    if stream[i] == 'last-generated-id' then
      return stream[i + 1]
    end
  end
end

-- When the next of a ZSET is due, or 0. No later than a reply can say.
local function next_in(zset)
  return math.min(tonumber(redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')[2] or 0), 2 ^ 53)
end

-- When someone has last read for a group. Of someone else's all that shows it is how far it is; one that has nothing to
-- read is read.
local function seen_of(groups, group)
  local name = group[2]
  local seen, mode, was_at = unpack(redis.call('HMGET', groups, name .. ':seen', name .. ':mode', name .. ':at'))
  if mode and seen then
    return tonumber(seen)
  end
  local at = group[8] .. ' ' .. group[6]
  local is_idle = group[6] == 0 and #after(group[8], 1) == 0
  if not seen or is_idle or was_at ~= at then
    -- A look does not fail for want of a note.
    redis.pcall('HSET', groups, name .. ':seen', int(now), name .. ':at', at)
    return now
  end
  return tonumber(seen)
end

-- After how long a group is forgotten, as whoever read for one said last. Fields of groups have a colon.
local function forget_of(groups)
  return tonumber(redis.call('HGET', groups, 'forget') or FORGET_AFTER)
end

-- The first id that some group has not finished, or has finished last; which group that is; and the
-- groups that no one has read for so long that they hold nothing.
local function floor_of(groups)
  local floor, holding, forgotten, forget_ms = nil, '', {}, forget_of(groups)
  local all = redis.call('EXISTS', LOG) == 1 and redis.call('XINFO', 'GROUPS', LOG) or {}
  for _, group in ipairs(all) do
    local name = group[2]
    if seen_of(groups, group) < now - forget_ms then
      forgotten[#forgotten + 1] = name
    else
      local at = group[6] > 0 and redis.call('XPENDING', LOG, name)[2] or group[8]
      if not floor or less(at, floor) then
        floor, holding = at, name
      end
    end
  end
  if not floor and #forgotten > 0 then
    local last = redis.call('XREVRANGE', LOG, '+', '-', 'COUNT', 1)[1]
    floor = last and last[1]
  end
  return floor, holding, forgotten
end

-- Whole nodes first, a bounded number; of the node that is left, what may go is few.
local function trim_to(id, max)
  local removed = redis.call('XTRIM', LOG, 'MINID', '~', id, 'LIMIT', max)
  if removed * 2 < tonumber(max) then
    removed = removed + redis.call('XTRIM', LOG, 'MINID', '=', id)
  end
  return removed
end

-- Whether there is room for some more, if need be of what everyone has finished.
local function has_room(more, cap, groups, later)
  local function len()
    return redis.call('XLEN', LOG) + redis.call('ZCARD', later)
  end
  if len() + more <= cap then
    return true
  end
  local floor, holding = floor_of(groups)
  if floor then
    trim_to(floor, TRIM_MAX)
  end
  return len() + more <= cap, len(), holding
end

-- Adds what is due by now of what was delayed.
local function promote(later, bodies, max)
  local numbers = redis.call('ZRANGEBYSCORE', later, '-inf', int(now), 'LIMIT', 0, max)
  for _, number in ipairs(numbers) do
    local body = redis.call('HGET', bodies, number)
    if body then
      redis.call('XADD', LOG, '*', unpack(cmsgpack.unpack(body)))
    end
    redis.call('ZREM', later, number)
    redis.call('HDEL', bodies, number)
  end
  return #numbers
end

-- What a dead letter says under a name.
local function field_of(entry, name)
  for i = 1, #entry[2], 2 do
    if entry[2][i] == name then
      return entry[2][i + 1]
    end
  end
end

-- Those dead letters of a group that are named from the second argument on, each once.
local function letters_of(dead, group)
  local letters, has = {}, {}
  for i = 2, #ARGV do
    local letter = not has[ARGV[i]] and redis.call('XRANGE', dead, ARGV[i], ARGV[i])[1]
    if letter and field_of(letter, 'dl-group') == group then
      letters[#letters + 1] = letter
    end
    has[ARGV[i]] = true
  end
  return letters
end

-- Removes dead letters, and counts them off their groups.
local function remove_dead(dead, groups, letters)
  for _, letter in ipairs(letters) do
    local group = field_of(letter, 'dl-group')
    if group then
      redis.call('HINCRBY', groups, group .. ':dead', -1)
    end
    redis.call('XDEL', dead, letter[1])
  end
end

local function remove_old_dead(dead, groups, keep_ms)
  local until_ms = now - keep_ms
  if until_ms > 0 then
    remove_dead(dead, groups, redis.call('XRANGE', dead, '-', int(until_ms), 'COUNT', 1000))
  end
end

-- What everyone who keeps a lease is told: {how far all is finished, pending, next due, next delayed,
-- age of the oldest that is not finished, in ms, or -1}, and the summary of what is pending. Or that the group is gone.
local function state(group, due, later)
  local summary = redis.pcall('XPENDING', LOG, group)
  if is_gone(summary) then
    return nil
  end
  if summary.err then
    return nil, summary
  end
  local first, checkpoint = summary[2], nil
  if summary[1] > 0 then
    checkpoint = '<' .. first
  else
    local last = group_of(group)[8]
    checkpoint = '=' .. last
    local unread = after(last, 1)[1]
    first = unread and unread[1]
  end
  local age = first and math.max(0, now - (split(first))) or -1
  return {checkpoint, summary[1], next_in(due), next_in(later), age}, summary
end
