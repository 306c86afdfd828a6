-- Prolongs a lease while its load runs.
-- KEYS[1] lease   ARGV[1] token  ARGV[2] lease time in ms
-- Returns 1 prolonged · 0 not the holder
-- One script, because the lease may pass on between the check and the write.

if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
