-- Renews the lease of an owner, and says how things stand.
-- KEYS[1] log  KEYS[2] owner  KEYS[3] groups  KEYS[4] due  KEYS[5] delayed   ARGV[1] group  ARGV[2] fence  ARGV[3] lease in ms
-- Returns as tick() does, where nothing is mine and no one has fallen · {0} another has it · {-1} no such group

if redis.call('HGET', KEYS[2], 'fence') ~= ARGV[2] then
  return {0}
end
local told, refused = state(ARGV[1], KEYS[4], KEYS[5])
if not told then
  return refused or {-1}
end
redis.call('HSET', KEYS[2], 'until', int(now + ARGV[3]))
redis.call('HSET', KEYS[3], ARGV[1] .. ':seen', int(now))
local sought, born = unpack(redis.call('HMGET', KEYS[3], ARGV[1] .. ':sought', ARGV[1] .. ':born'))
return {1, now, told[1], 0, told[2], told[3], told[4], '', told[5], sought or '', tonumber(born or 0)}
