-- Renews the lease of a consumer, and says how things stand.
-- KEYS[1] log  KEYS[2] groups  KEYS[3] members  KEYS[4] due  KEYS[5] delayed  KEYS[6] meta  KEYS[7] tries
-- ARGV[1] group  ARGV[2] consumer  ARGV[3] lease in ms  ARGV[4] how long after its lease one has fallen, in ms
-- ARGV[5] 1: look at consumers that are not ours, and for entries that no one has a time for
-- Returns {1, now, checkpoint, mine, pending, next due ms or 0, next delayed ms or 0, one that has fallen or '',
--   age of the oldest in ms or -1, the last id when people moved it or '',
--   when it was made in µs} · {0} fallen · {-1} no such group
-- A consumer that is in no list is put back: only a claim leaves the mark of one that has fallen.

local GROUPS, MEMBERS, DUE, LATER, META = KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local group, me, lease, grace = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if tonumber(redis.call('ZSCORE', MEMBERS, me) or 0) < 0 then
  return {0}
end
local told, summary = state(group, DUE, LATER)
if not told then
  return summary or {-1}
end
redis.call('ZADD', MEMBERS, int(now + lease), me)
redis.call('HSET', GROUPS, group .. ':seen', int(now))
local mode, sought, born = unpack(redis.call('HMGET', GROUPS, group .. ':mode', group .. ':sought', group .. ':born'))

local mine, fallen, parked, ordered, foreign = 0, '', 0, 0, {}
for _, of in ipairs(summary[4] or {}) do
  local name, count = of[1], tonumber(of[2])
  if name == me then
    mine = count
  elseif name == PARKED then
    parked = count
  elseif name == ORDERED then
    ordered = count
  else
    local ends = redis.call('ZSCORE', MEMBERS, name)
    if not ends then
      foreign[name] = true
    elseif tonumber(ends) < now - grace then
      fallen = name
    end
  end
end

if ARGV[5] == '1' and mode ~= 'key' then
  if fallen == '' and next(foreign) then
    for _, of in ipairs(redis.call('XINFO', 'CONSUMERS', LOG, group)) do
      if foreign[of[2]] and of[6] >= lease then
        fallen = of[2]
      end
    end
  end
  if ordered > 0 then
    -- Left by an ordered group of that name.
    local ids = ids_of(redis.call('XPENDING', LOG, group, '-', '+', 1000, ORDERED))
    for _, id in ipairs(move(group, PARKED, ids, META, KEYS[7], DUE)) do
      redis.call('ZADD', DUE, 'NX', int(now), id)
    end
  elseif parked ~= redis.call('ZCARD', DUE) then
    local from = '-'
    for _ = 1, 10 do
      local ids = ids_of(redis.call('XPENDING', LOG, group, from, '+', 1000, PARKED))
      for _, id in ipairs(ids) do
        redis.call('ZADD', DUE, 'NX', int(now), id)
      end
      if #ids < 1000 then
        break
      end
      from = '(' .. ids[#ids]
    end
  end
  told[3] = next_in(DUE)
end
return {1, now, told[1], mine, told[2], told[3], told[4], fallen, told[5], sought or '', tonumber(born or 0)}
