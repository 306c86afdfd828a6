-- Stores what was loaded, if no invalidation came in between.
-- KEYS[1] entry  KEYS[2] lease   ARGV[1] token  ARGV[2] bytes  ARGV[3] TTL in ms
-- Returns 1 stored · 0 the lease is gone, nothing stored
-- One script, because the lease may be revoked between the check and the write.

if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('UNLINK', KEYS[2])
return 1
