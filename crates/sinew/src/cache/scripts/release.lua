-- Gives a lease back, so that others need not wait for its end.
-- KEYS[1] lease   ARGV[1] token
-- Returns 1 given back · 0 not the holder
-- One script, because the lease may expire between the check and the delete.

if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('UNLINK', KEYS[1])
