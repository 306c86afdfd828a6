-- Gives back what a consumer has, and removes it once that is nothing.
-- KEYS[1] log  KEYS[2] members  KEYS[3] due  KEYS[4] meta  KEYS[5] tries
-- ARGV[1] group  ARGV[2] consumer  ARGV[3] how many at most
-- Returns {1} there may be more · {0} it is gone · {-1} no such group
-- Of none at most nothing is given back: it goes if it has nothing.
-- One script, because a consumer takes with it what it holds when it is removed.

local group, me, most = ARGV[1], ARGV[2], math.max(tonumber(ARGV[3]), 1)
local held = redis.pcall('XPENDING', LOG, group, '-', '+', most, me)
if ARGV[3] == '0' and #held > 0 then
  return {1}
end
if is_gone(held) then
  redis.call('ZREM', KEYS[2], me)
  return {-1}
elseif held.err then
  return held
end
for _, id in ipairs(move(group, PARKED, ids_of(held), KEYS[4], KEYS[5], KEYS[3])) do
  redis.call('ZADD', KEYS[3], int(now), id)
end
if #held >= most then
  return {1}
end
redis.call('ZREM', KEYS[2], me)
redis.call('XGROUP', 'DELCONSUMER', LOG, group, me)
return {0}
