-- Removes a group and all that is known of it, but for its dead letters.
-- KEYS[1] log  KEYS[2] groups  KEYS[3] members  KEYS[4] due  KEYS[5] tries  KEYS[6] owner   ARGV[1] group  ARGV[2] 1: also where some are under a lease
-- Returns {1} done · {0, how many are under a lease} · {-1} no such group
-- One script, because what is read between the look and the end would be lost.

local group = ARGV[1]
local summary = redis.pcall('XPENDING', LOG, group)
local was = not is_gone(summary)
if was and summary.err then
  return summary
end
local leased = was and ARGV[2] ~= '1' and leased_of(summary, KEYS[3], KEYS[6]) or 0
if leased > 0 then
  return {0, leased}
elseif was then
  redis.call('XGROUP', 'DESTROY', LOG, group)
end
redis.call('DEL', KEYS[3], KEYS[4], KEYS[5], KEYS[6])
redis.call('HDEL', KEYS[2], group .. ':seen', group .. ':at', group .. ':mode', group .. ':sought', group .. ':born')
return {was and 1 or -1}
