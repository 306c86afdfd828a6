-- Has entries wait for a retry.
-- KEYS[1] log  KEYS[2] members or owner  KEYS[3] tries  KEYS[4] due  KEYS[5] meta
-- ARGV[1] group  ARGV[2] 'c' and consumer, or 'f' and fence  then for each: id, delay in ms, note or ''
-- Returns {how many, ids that are not its own} · {-1} no such group
-- One script, because what waits without a time would wait for ever. An owner keeps its own, for order's sake.

local group = ARGV[1]
local name = held_by(ARGV[2], KEYS[2])
local parked, lost = 0, {}
for i = 3, #ARGV, 3 do
  local id, held = ARGV[i], {}
  if name then
    held = redis.pcall('XPENDING', LOG, group, id, id, 1, name)
    if is_gone(held) then
      return {-1}
    elseif held.err then
      return held
    end
  end
  if held[1] and (name == ORDERED or move(group, PARKED, {id}, KEYS[5], KEYS[3], KEYS[4])[1]) then
    redis.call('ZADD', KEYS[4], int(now + ARGV[i + 1]), id)
    if ARGV[i + 2] ~= '' then
      redis.call('HSET', KEYS[3], id, ARGV[i + 2])
    end
    parked = parked + 1
  else
    lost[#lost + 1] = id
  end
end
return {parked, unpack(lost)}
