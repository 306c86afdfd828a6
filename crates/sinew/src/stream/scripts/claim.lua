-- Takes entries from a consumer that has fallen.
-- KEYS[1] log  KEYS[2] members  KEYS[3] tries  KEYS[4] meta  KEYS[5] due
-- ARGV[1] group  ARGV[2] who takes  ARGV[3] from whom  ARGV[4] how many at most  ARGV[5] how long after its lease, in ms
-- ARGV[6] how long one that is not ours has to be idle, in ms
-- Returns {1, entries, lost ids, 1 there is more} · {0} it lives, or who takes has fallen itself · {-1} no such group
-- One script, because the mark has to be there before anything is taken: while it is not, all that a consumer was given is its own.

local MEMBERS, TRIES = KEYS[2], KEYS[3]
local group, me, from, max = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local is_live = tonumber(redis.call('ZSCORE', MEMBERS, me) or 0) >= now
if not is_live or from == me or from == PARKED or from == ORDERED then
  return {0}
end
local ends = redis.call('ZSCORE', MEMBERS, from)
if ends and tonumber(ends) >= now - ARGV[5] then
  return {0}
end
local held = redis.pcall('XPENDING', LOG, group, '-', '+', max, from)
if is_gone(held) then
  return {-1}
elseif held.err then
  return held
end
if not ends and #held == 0 then
  -- Someone else's, of whom nothing is wanted.
  return {1, {}, {}, 0}
elseif not ends then
  local idle = math.huge
  for _, of in ipairs(redis.call('XINFO', 'CONSUMERS', LOG, group)) do
    if of[2] == from then
      idle = of[6]
    end
  end
  if idle < tonumber(ARGV[6]) then
    return {0}
  end
elseif tonumber(ends) > 0 then
  redis.call('ZADD', MEMBERS, int(-now), from)
end
local asked, entries = ids_of(held), {}
if #asked > 0 then
  entries = redis.call('XCLAIM', LOG, group, me, 0, unpack(asked))
end
local lost = missing(asked, entries, KEYS[4], TRIES, KEYS[5])
for _, entry in ipairs(entries) do
  redis.call('HINCRBY', TRIES, entry[1] .. ':d', 1)
end
if #held < max then
  redis.call('XGROUP', 'DELCONSUMER', LOG, group, from)
end
return {1, with_tries(TRIES, entries), lost, #held < max and 0 or 1}
