-- A partition in numbers, and its groups.
-- KEYS[1] log  KEYS[2] meta  KEYS[3] groups  KEYS[4] dead  KEYS[5] delayed
-- ARGV[1] how many unread entries of a group are counted  ARGV[2] and up to how many bytes: of more, it is told about how
--   many there are
-- Returns {now, partitions or 0, most, kept for ms, entries, published, delayed, dead, lost, last id or '',
--   group that holds most or '', then for each group {name, mode, waiting, 1 exactly, held, parked, dead, consumers,
--   age of the oldest in ms or -1, seen at ms, 1 forgotten, how many of those held are under no lease}}
-- One script, so that the numbers are of one moment.

local GROUPS, DEAD = KEYS[3], KEYS[4]
local of_groups = string.sub(GROUPS, 1, -#'groups' - 1) .. 'g:'
local said = redis.call('HMGET', KEYS[2], 'n', 'cap', 'keep', 'lost')
for i = 1, 4 do
  said[i] = tonumber(said[i] or 0)
end
local len, published, last, first = 0, 0, '', nil
if redis.call('EXISTS', LOG) == 1 then
  local info = redis.call('XINFO', 'STREAM', LOG)
  for i = 1, #info, 2 do
    if info[i] == 'length' then
      len = info[i + 1]
    elseif info[i] == 'entries-added' then
      published = info[i + 1]
    elseif info[i] == 'last-generated-id' and info[i + 1] ~= '0-0' then
      last = info[i + 1]
    elseif info[i] == 'first-entry' then
      first = info[i + 1] and info[i + 1][1]
    end
  end
end

-- How many entries come after this id, as far as that is known without reading much; and whether that is all. One by one:
-- any of them may be the longest.
local function counted(id)
  local most, left, n = tonumber(ARGV[1]), tonumber(ARGV[2]), 0
  while n < most and left > 0 do
    local entry = after(id, 1)[1]
    if not entry then
      return n, true
    end
    n, id = n + 1, entry[1]
    for _, text in ipairs(entry[2]) do
      left = left - #text
    end
  end
  return n, false
end

-- Of many that are not read, Redis's own count is told. It goes wrong by trimming, and by restarts: so it is put right where
-- it is known. There is none after a seek, or once something was deleted.
local function waiting_of(group)
  local read_to, lag = group[8], group[12]
  if first and less(read_to, first) then
    return len, 1
  end
  local unread, is_all = counted(read_to)
  if unread == 0 and lag ~= 0 and read_to == last then
    -- A look does not fail for want of it.
    redis.pcall('XGROUP', 'SETID', LOG, group[2], last, 'ENTRIESREAD', int(published))
  end
  if is_all then
    return unread, 1
  end
  if not lag then
    -- As if they had come evenly.
    local from, to, at = split(first), split(last), split(read_to)
    lag = to > from and math.ceil(len * (to - at) / (to - from)) or len
  end
  return math.max(unread, math.min(lag, len)), 0
end

local floor, holding = floor_of(GROUPS)
local forget_ms = forget_of(GROUPS)
local told = {
  now, said[1], said[2], said[3], len, published, redis.call('ZCARD', KEYS[5]), redis.call('XLEN', DEAD), said[4], last,
  holding,
}
for _, group in ipairs(redis.call('EXISTS', LOG) == 1 and redis.call('XINFO', 'GROUPS', LOG) or {}) do
  local name = group[2]
  local root = of_groups .. name
  local known = redis.call('HMGET', GROUPS, name .. ':mode', name .. ':seen', name .. ':dead')
  local summary = redis.call('XPENDING', LOG, name)
  local parked = 0
  for _, of in ipairs(summary[4] or {}) do
    if of[1] == PARKED then
      parked = tonumber(of[2])
    end
  end
  local consumers
  if known[1] == 'key' then
    parked = math.min(summary[1], redis.call('ZCARD', root .. ':due'))
    consumers = tonumber(redis.call('HGET', root .. ':own', 'until') or 0) > now and 1 or 0
  else
    consumers = redis.call('ZCOUNT', root .. ':members', int(now), '+inf')
  end
  local oldest = summary[2]
  if summary[1] == 0 then
    local unread = after(group[8], 1)[1]
    oldest = unread and unread[1]
  end
  local waiting, is_exact = waiting_of(group)
  local seen = tonumber(known[2] or 0)
  told[#told + 1] = {
    name, known[1] or 'any', waiting, is_exact, summary[1] - parked, parked, math.max(0, tonumber(known[3] or 0)),
    consumers, oldest and math.max(0, now - (split(oldest))) or -1, seen, seen < now - forget_ms and 1 or 0,
    math.max(0, summary[1] - parked - leased_of(summary, root .. ':members', root .. ':own')),
  }
end
return told
