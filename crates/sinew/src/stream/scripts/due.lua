-- Takes what is due: of what was delayed into the log, of what waits for a retry to a consumer.
-- KEYS[1] log  KEYS[2] members  KEYS[3] due  KEYS[4] tries  KEYS[5] delayed  KEYS[6] their bodies  KEYS[7] meta
-- ARGV[1] group  ARGV[2] consumer  ARGV[3] how many at most
-- Returns {1, entries, lost ids, next due ms or 0, next delayed ms or 0} · {0} its lease is over · {-1} no such group
-- One script, because each is to be taken once, and never to be no one's.

-- As memory/steps.rs has it.
local PROMOTE_MAX = 100

local DUE, LATER = KEYS[3], KEYS[5]
promote(LATER, KEYS[6], PROMOTE_MAX)
if tonumber(redis.call('ZSCORE', KEYS[2], ARGV[2]) or 0) < now then
  return {0}
end
local ids = redis.call('ZRANGEBYSCORE', DUE, '-inf', int(now), 'LIMIT', 0, ARGV[3])
local entries, lost = {}, {}
if #ids > 0 then
  entries = redis.pcall('XCLAIM', LOG, ARGV[1], ARGV[2], 0, unpack(ids))
  if is_gone(entries) then
    return {-1}
  elseif entries.err then
    return entries
  end
  redis.call('ZREM', DUE, unpack(ids))
  lost = missing(ids, entries, KEYS[7], KEYS[4], DUE)
end
return {1, with_tries(KEYS[4], entries), lost, next_in(DUE), next_in(LATER)}
