-- Notes that there is a queue, if there is room.
-- KEYS[1] queues   ARGV[1] queue  ARGV[2] how many at most
-- Returns 1 noted · 0 there are too many
-- One script, because two may be the last for which there is room.

-- Nothing is written where it is noted: a worker that begins while Redis is full comes by here.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 1
elseif redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('ZADD', KEYS[1], redis.call('TIME')[1], ARGV[1])
return 1
