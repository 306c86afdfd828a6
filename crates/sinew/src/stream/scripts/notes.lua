-- What is noted of entries, of those that a consumer has.
-- KEYS[1] log  KEYS[2] tries   ARGV[1] group  ARGV[2] consumer  then ids
-- Returns {1, {id, note or ''}, …} · {-1} no such group

local told = {1}
for i = 3, #ARGV do
  local id = ARGV[i]
  local held = redis.pcall('XPENDING', LOG, ARGV[1], id, id, 1, ARGV[2])
  if is_gone(held) then
    return {-1}
  elseif held.err then
    return held
  elseif held[1] then
    told[#told + 1] = {id, redis.call('HGET', KEYS[2], id) or ''}
  end
end
return told
