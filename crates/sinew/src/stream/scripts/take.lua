-- Takes a partition of an ordered group, if no one has it.
-- KEYS[1] log  KEYS[2] owner  KEYS[3] due  KEYS[4] groups  KEYS[5] meta  KEYS[6] tries
-- ARGV[1] group  ARGV[2] owner  ARGV[3] lease in ms
-- Returns {1, fence, pending, how many are others' still} · {0} another has it · {-1} no such group
-- A fence is greater than all before it, also where these were lost: it goes by the clock, in µs.

-- As memory/steps.rs has it.
local STRANGERS_MAX = 1000

local group, owner = ARGV[1], ARGV[2]
local own = redis.call('HMGET', KEYS[2], 'owner', 'fence', 'until')
if tonumber(own[3] or 0) > now and own[1] ~= owner then
  return {0}
end
local summary = redis.pcall('XPENDING', LOG, group)
if is_gone(summary) then
  return {-1}
elseif summary.err then
  return summary
end
local fence = math.max(tonumber(own[2] or 0) + 1, TIME[1] * 1000000 + TIME[2])
redis.call('HSET', KEYS[2], 'owner', owner, 'fence', int(fence), 'until', int(now + ARGV[3]))
redis.call('HSET', KEYS[4], group .. ':seen', int(now))
-- What was read before the group was an ordered one.
local left, room = 0, STRANGERS_MAX
for _, of in ipairs(summary[4] or {}) do
  local name, count = of[1], tonumber(of[2])
  if name ~= ORDERED then
    local some = math.min(room, count)
    if some > 0 then
      local ids = ids_of(redis.call('XPENDING', LOG, group, '-', '+', some, name))
      move(group, ORDERED, ids, KEYS[5], KEYS[6], KEYS[3])
    end
    room, left = room - some, left + count - some
  end
end
return {1, int(fence), summary[1], left}
