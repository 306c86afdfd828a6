-- Stores a value and revokes any load under way.
-- KEYS[1] entry  KEYS[2] lease   ARGV[1] bytes  ARGV[2] TTL in ms
-- Returns 1
-- One script, because a load between the two writes would overwrite the value with an older one.

redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('UNLINK', KEYS[2])
return 1
