-- Removes an entry that the source has no more, if no one has written or invalidated it meanwhile.
-- KEYS[1] entry  KEYS[2] lease   ARGV[1] token
-- Returns 1 removed · 0 the lease is gone, nothing removed
-- One script, because the lease may be revoked between the check and the delete.

if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('UNLINK', KEYS[1], KEYS[2])
return 1
