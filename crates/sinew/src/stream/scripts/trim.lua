-- Removes entries that every group has finished, and what is left of consumers and dead letters of long ago.
-- KEYS[1] log  KEYS[2] groups  KEYS[3] meta  KEYS[4] dead
-- ARGV[1] for how long finished ones are kept, in ms, '' as the topic says  ARGV[2] after how long a group is forgotten, in ms, '' as was noted
-- ARGV[3] how many at most  ARGV[4] for how long dead letters are kept, in ms
-- Returns {how many, first id that is kept or '', group that holds most or '', forgotten groups}
-- One script, because a group may be made between the look at the groups and the trim.

local GROUPS = KEYS[2]
remove_old_dead(KEYS[4], GROUPS, ARGV[4])
if ARGV[2] ~= '' then
  -- Those who publish or look have no such setting.
  redis.call('HSET', GROUPS, 'forget', ARGV[2])
end
local floor, holding, forgotten = floor_of(GROUPS)
local removed = 0
if floor then
  local keep = tonumber(ARGV[1] ~= '' and ARGV[1] or redis.call('HGET', KEYS[3], 'keep') or 0)
  local aged = int(math.max(0, now - keep)) .. '-0'
  removed = trim_to(keep > 0 and less(aged, floor) and aged or floor, ARGV[3])
end

-- Of consumers whose lease ended a day ago, or who have fallen then: those who hold nothing.
local of_groups = string.sub(GROUPS, 1, -#'groups' - 1) .. 'g:'
for _, group in ipairs(redis.call('EXISTS', LOG) == 1 and redis.call('XINFO', 'GROUPS', LOG) or {}) do
  local members = of_groups .. group[2] .. ':members'
  local long_ago = redis.call('ZRANGEBYSCORE', members, int(DAY - now), int(now - DAY), 'LIMIT', 0, 100)
  for _, name in ipairs(long_ago) do
    if #redis.call('XPENDING', LOG, group[2], '-', '+', 1, name) == 0 then
      redis.call('XGROUP', 'DELCONSUMER', LOG, group[2], name)
      redis.call('ZREM', members, name)
    end
  end
end
return {removed, floor or '', holding, unpack(forgotten)}
