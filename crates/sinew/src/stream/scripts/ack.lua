-- Acknowledges entries that are their holder's.
-- KEYS[1] log  KEYS[2] members or owner  KEYS[3] tries  KEYS[4] due
-- ARGV[1] group  ARGV[2] 'c' and consumer, or 'f' and fence  ARGV[3] for how long the inbox has their marks, in ms
-- ARGV[4] how many  then ids, then, where there is an inbox, the key of each mark
-- Returns {how many, ids that are not its own} · {-1} no such group
-- One script, because an entry may be taken between the look at whose it is and the acknowledgement.

local group, count = ARGV[1], tonumber(ARGV[4])
local name, is_own = held_by(ARGV[2], KEYS[2])
-- What a pull was given is said from outside: what is someone else's it cannot settle.
local is_pull = string.sub(ARGV[2], 1, 6) == 'cpull-'
local ids, lost, read_to = {}, {}, nil
for i = 5, 4 + count do
  local id, is_its = ARGV[i], is_own
  if name and (is_pull or not is_own) then
    local held = redis.pcall('XPENDING', LOG, group, id, id, 1)
    if is_gone(held) then
      return {-1}
    elseif held.err then
      return held
    end
    local holder = held[1] and held[1][2]
    if is_own and not holder then
      read_to = read_to or group_of(group)[8]
    end
    -- One that is no one's was acknowledged before, by a call whose reply was lost; if it was ever given to anyone.
    is_its = holder == name or is_own and not holder and not less(read_to, id)
  end
  if is_its then
    ids[#ids + 1] = id
    if ARGV[i + count] then
      redis.call('SET', ARGV[i + count], '', 'PX', ARGV[3])
    end
  else
    lost[#lost + 1] = id
  end
end
local acked = 0
if #ids > 0 then
  acked = redis.call('XACK', LOG, group, unpack(ids))
  if acked == 0 and is_gone(redis.pcall('XPENDING', LOG, group)) then
    return {-1}
  end
  forget_tries(KEYS[3], KEYS[4], ids)
end
return {acked, unpack(lost)}
