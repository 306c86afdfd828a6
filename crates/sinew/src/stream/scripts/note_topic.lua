-- Notes that a topic was declared, if there is room.
-- KEYS[1] topics   ARGV[1] topic  ARGV[2] how many at most
-- Returns 1 noted · 0 there are too many
-- One script, because two may be the last for which there is room.

if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('ZADD', KEYS[1], 'NX', int(now), ARGV[1])
return 1
