-- The consumers of a group, and what they have.
-- KEYS[1] log  KEYS[2] members  KEYS[3] owner   ARGV[1] group
-- Returns {name, held, lease left in ms or -1, its oldest id or '', fence or ''} of each
-- One script, so that what moves from one to another is counted once.

local group = ARGV[1]
local holds, summary = {}, redis.pcall('XPENDING', LOG, group)
for _, one in ipairs(not summary.err and summary[4] or {}) do
  holds[one[1]] = tonumber(one[2])
end
local function of(name, known_as, left, fence)
  local held = holds[name] or 0
  local oldest = held > 0 and redis.call('XPENDING', LOG, group, '-', '+', 1, name)[1][1] or ''
  return {known_as, held, left, oldest, fence}
end

local told, listed = {}, {}
local members = redis.call('ZRANGE', KEYS[2], 0, 999, 'WITHSCORES')
local own = redis.call('HMGET', KEYS[3], 'owner', 'fence', 'until')
local ends = tonumber(own[3] or 0)
if own[1] and ends > now then
  told[1] = of(ORDERED, own[1], ends - now, own[2])
  listed[own[1]] = true
end
for i = 1, #members, 2 do
  local name = members[i]
  local one = of(name, name, math.max(0, tonumber(members[i + 1]) - now), '')
  -- The mark of one that has fallen stays a while.
  if not listed[name] and (one[3] > 0 or one[2] > 0) then
    told[#told + 1] = one
  end
  listed[name] = true
end
local all = redis.pcall('XINFO', 'CONSUMERS', LOG, group)
for _, consumer in ipairs(not all.err and all or {}) do
  local name = consumer[2]
  if not listed[name] and name ~= PARKED and name ~= ORDERED then
    told[#told + 1] = of(name, name, -1, '')
  end
end
return told
