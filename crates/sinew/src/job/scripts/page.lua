-- Jobs of a shelf: of the dead the newest first, else the oldest.
-- ARGV[1] shelf: 'w' and priority · 'u' suspects · 's' scheduled · 'r' running · 'd' dead, and their fingerprint or '' · 'k' kept
-- ARGV[2] and ARGV[3] where it goes on: an index or a score, and an id or ''  ARGV[4] how many
-- Returns {1 there is more or 0, the index or score and the id or '' where it goes on, what found() says of each…}
-- One script, so that what moves from one list to another is seen at most once in a page.

-- How long a page may be before the last of it, in bytes.
local ANSWER_LEN_MAX = 1048576
local shelf, from, after, max = sub(ARGV[1], 1, 1), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])

-- How many of a ZSET are before a member with a score, whether or not that is there; or are not behind it.
local function rank_of(zset, score, member, is_behind)
  local low = call('ZCOUNT', zset, '-inf', '(' .. int(score))
  local high = call('ZCOUNT', zset, '-inf', int(score))
  while low < high do
    local middle = floor((low + high) / 2)
    local there = call('ZRANGE', zset, middle, middle)[1]
    if there < member or is_behind and there == member then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- Some of a ZSET from where it goes on; whether there is more, and where.
local function of_zset(zset, is_newest_first, member)
  local members
  if is_newest_first then
    local count = after ~= '' and rank_of(zset, from, after, false) or call('ZCARD', zset)
    local first = math.max(0, count - max)
    members = count > 0 and call('ZRANGE', zset, first, count - 1, 'WITHSCORES') or {}
    local turned = {}
    for i = #members - 1, 1, -2 do
      turned[#turned + 1] = members[i]
      turned[#turned + 1] = members[i + 1]
    end
    return turned, first > 0
  end
  local first = after ~= '' and rank_of(zset, from, member, true) or 0
  members = call('ZRANGE', zset, first, first + max - 1, 'WITHSCORES')
  return members, call('ZCARD', zset) > first + max
end

local len = 0

-- Adds a job to a page. Whether there is room for another.
local function add(out, job)
  out[#out + 1] = job
  for i = 3, job and 8 or 0 do
    len = len + (type(job[i]) == 'string' and #job[i] or 0)
  end
  return len < ANSWER_LEN_MAX
end

local function told_of(members, is_more, state, strip)
  local out = {is_more and 1 or 0, 0, ''}
  for i = 1, #members, 2 do
    local id = sub(members[i], strip)
    out[2], out[3] = math.min(tonumber(members[i + 1]), 2 ^ 53), id
    if not add(out, found(id, state)) and i + 1 < #members then
      out[1] = 1
      break
    end
  end
  return out
end

local function of_list(list)
  local out = {call('LLEN', list) > from + max and 1 or 0, from + max, ''}
  local members = call('LRANGE', list, from, from + max - 1)
  for i, member in ipairs(members) do
    local id, number, key = member, match(member, '^@(%d+):(.*)$')
    if key then
      local counts_one = call('HGET', TOK, key)
      id = counts_one and match(counts_one, '^%d+') == number and call('ZRANGE', root .. 'g:' .. key, 0, 0)[1]
    end
    if not add(out, id and found(id, 'w') or nil) and i < #members then
      out[1], out[2] = 1, from + i
      break
    end
  end
  return out
end

local function of_lanes()
  local lane_of_id, ids = {}, {}
  for _, lane in ipairs(call('ZRANGE', LANES, 0, -1)) do
    for _, id in ipairs(call('HKEYS', root .. 'r:' .. lane)) do
      if #id == ID_LEN and id > after then
        lane_of_id[id] = lane
        ids[#ids + 1] = id
      end
    end
  end
  table.sort(ids)
  local out = {#ids > max and 1 or 0, 0, ''}
  for i = 1, math.min(max, #ids) do
    out[3] = ids[i]
    out[#out + 1] = found(ids[i], 'r', lane_of_id[ids[i]])
  end
  return out
end

if shelf == 'w' then
  return of_list(root .. ARGV[1])
elseif shelf == 'u' then
  return of_list(SUS)
elseif shelf == 'r' then
  return of_lanes()
elseif shelf == 's' then
  local v = after ~= '' and call('HGET', shard(after), after)
  -- Of one that is gone, no one knows by which letter it was: others of the same moment may come again.
  local member = v and v ~= '' and due_member(after, lead(v)) or after
  local members, is_more = of_zset(SCHED, false, member)
  return told_of(members, is_more, 's', 2)
elseif shelf == 'd' then
  local zset = #ARGV[1] > 1 and root .. 'dead:' .. sub(ARGV[1], 2) or root .. 'dead'
  local members, is_more = of_zset(zset, true)
  return told_of(members, is_more, 'd', 1)
end
local members, is_more = of_zset(KEPT, false, after)
return told_of(members, is_more, 'k', 1)
