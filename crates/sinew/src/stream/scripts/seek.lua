-- Has a group go on elsewhere.
-- KEYS[1] log  KEYS[2] groups  KEYS[3] due  KEYS[4] tries  KEYS[5] members  KEYS[6] owner
-- ARGV[1] group  ARGV[2] after which id, or '0', or '$'  ARGV[3] 1: also where some are under a lease
-- Returns {1} done · {0, how many are under a lease} · {-1} no such group
-- One script, because an entry that is read between the look and the move would be handled twice.

local group = ARGV[1]
local summary = redis.pcall('XPENDING', LOG, group)
if is_gone(summary) then
  return {-1}
elseif summary.err then
  return summary
end
local leased = ARGV[3] == '1' and 0 or leased_of(summary, KEYS[5], KEYS[6])
if leased > 0 then
  return {0, leased}
end
-- They are taken from whoever has them: what these say of them from now on is looked at, or refused.
for _, of in ipairs(summary[4] or {}) do
  if of[1] == ORDERED and redis.call('HEXISTS', KEYS[6], 'fence') == 1 then
    redis.call('HINCRBY', KEYS[6], 'fence', 1)
    redis.call('HSET', KEYS[6], 'until', 0)
  elseif tonumber(redis.call('ZSCORE', KEYS[5], of[1]) or -1) > 0 then
    redis.call('ZADD', KEYS[5], int(-now), of[1])
  end
end
-- All that was pending goes with it, however much that is: of some alone, the rest might be refused.
redis.call('XGROUP', 'DESTROY', LOG, group)
-- What is yet to come is not passed over.
local is_ahead = string.find(ARGV[2], '-', 1, true) and less(last_id(), ARGV[2])
redis.call('XGROUP', 'CREATE', LOG, group, is_ahead and '$' or ARGV[2])
redis.call('DEL', KEYS[3], KEYS[4])
local last = redis.call('XREVRANGE', LOG, '+', '-', 'COUNT', 1)[1]
-- What was known of it up to here no longer counts. Another id each time: whoever knows the one before is to see it.
local sought, was = last and last[1] or '0-0', redis.call('HGET', KEYS[2], group .. ':sought')
if was and not less(was, sought) then
  local ms, seq = split(was)
  sought = int(ms) .. '-' .. int(seq + 1)
end
redis.call('HSET', KEYS[2], group .. ':sought', sought)
return {1}
