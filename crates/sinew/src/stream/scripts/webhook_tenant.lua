-- Notes a tenant that has webhooks, as long as there is room.
-- KEYS[1] the tenants: a sorted set by when they were noted
-- ARGV[1] tenant, or '_' for none  ARGV[2] most tenants
-- Returns 1 noted · 0 full
-- One script, because another may take the last place between the look and the write.

if redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 1
end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), ARGV[1])
return 1
