-- Makes an entry a dead letter.
-- KEYS[1] log  KEYS[2] members or owner  KEYS[3] tries  KEYS[4] due  KEYS[5] dead  KEYS[6] meta  KEYS[7] groups
-- ARGV[1] group  ARGV[2] 'c' and consumer, or 'f' and fence  ARGV[3] id  ARGV[4] reason  ARGV[5] note
-- ARGV[6] most dead letters  ARGV[7] for how long they are kept, in ms
-- Returns {1} · {0} not its own · {2} deleted meanwhile · {3} there are too many · {-1} no such group
-- One script, because it is to be either pending or dead, never both or neither.

local TRIES, DUE, DEAD, META = KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local group, id, most = ARGV[1], ARGV[3], tonumber(ARGV[6])
local name = held_by(ARGV[2], KEYS[2])
if not name then
  return {0}
end
local held = redis.pcall('XPENDING', LOG, group, id, id, 1, name)
if is_gone(held) then
  return {-1}
elseif held.err then
  return held
elseif not held[1] then
  return {0}
end
local function finish()
  redis.call('XACK', LOG, group, id)
  forget_tries(TRIES, DUE, {id})
end
local entry = redis.call('XRANGE', LOG, id, id)[1]
if not entry then
  finish()
  redis.call('HINCRBY', META, 'lost', 1)
  return {2}
end
if redis.call('XLEN', DEAD) >= most then
  remove_old_dead(DEAD, KEYS[7], ARGV[7])
  if redis.call('XLEN', DEAD) >= most then
    return {3}
  end
end
local crashes = redis.call('HGET', TRIES, id .. ':d') or '0'
-- Lua hands on some 8,000 values at most: of what others added that is wider, some is left out.
local fields = {'dl-id', id, 'dl-group', group, 'dl-reason', ARGV[4], 'dl-note', ARGV[5], 'dl-crashes', crashes}
for i = 1, #entry[2], 2 do
  local name = entry[2][i]
  -- What only looks like ours would say that it is another group's.
  local is_its = string.sub(name, 1, 3) ~= 'dl-'
  if is_its and (#fields < 4000 or name == 'data' and #fields < 7000) then
    fields[#fields + 1] = name
    fields[#fields + 1] = entry[2][i + 1]
  end
end
redis.call('XADD', DEAD, '*', unpack(fields))
finish()
redis.call('HINCRBY', KEYS[7], group .. ':dead', 1)
return {1}
