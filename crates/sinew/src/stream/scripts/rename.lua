-- Gives a consumer that was taken for dead another name, under which it keeps what no one has taken.
-- KEYS[1] log  KEYS[2] members  KEYS[3] meta  KEYS[4] tries  KEYS[5] due
-- ARGV[1] group  ARGV[2] old name  ARGV[3] new name  ARGV[4] lease in ms
-- Returns {1, ids that are under the new name} · {-1} no such group
-- One script, because what others have taken meanwhile is theirs. All that is under the new name, because a reply may be lost.

local group, old, new = ARGV[1], ARGV[2], ARGV[3]
local held = redis.pcall('XPENDING', LOG, group, '-', '+', 4096, old)
if is_gone(held) then
  return {-1}
elseif held.err then
  return held
end
move(group, new, ids_of(held), KEYS[3], KEYS[4], KEYS[5])
redis.call('ZADD', KEYS[2], int(now + ARGV[4]), new)
if tonumber(redis.call('ZSCORE', KEYS[2], old) or 0) >= 0 then
  redis.call('ZADD', KEYS[2], int(-now), old)
end
if #held < 4096 then
  redis.call('XGROUP', 'DELCONSUMER', LOG, group, old)
end
local ids = {1}
for _, one in ipairs(redis.call('XPENDING', LOG, group, '-', '+', 8192, new)) do
  ids[#ids + 1] = one[1]
end
return ids
