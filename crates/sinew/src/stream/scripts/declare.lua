-- Declares a partition of a topic, or says what it was declared as.
-- KEYS[1] meta
-- ARGV[1] number of partitions, or ''  ARGV[2] most entries, or ''  ARGV[3] for how long they are kept, in ms, or ''
-- ARGV[4] and ARGV[5] the same two where nothing was ever said
-- Returns {partitions, most entries, kept for ms}, as they are now
-- One script, because the first one to say how many partitions there are is the only one.

local n = redis.call('HGET', KEYS[1], 'n')
if not n then
  n = ARGV[1] ~= '' and ARGV[1] or '1'
  -- Nothing reads when it was made: that is for people.
  redis.call('HSET', KEYS[1], 'n', n, 'made', int(now))
end
-- Who is wrong about the number changes nothing.
if ARGV[1] == '' or ARGV[1] == n then
  for i, name in ipairs({'cap', 'keep'}) do
    if ARGV[i + 1] ~= '' then
      redis.call('HSET', KEYS[1], name, ARGV[i + 1])
    end
  end
end
redis.call('HSETNX', KEYS[1], 'cap', ARGV[4])
redis.call('HSETNX', KEYS[1], 'keep', ARGV[5])
local said = redis.call('HMGET', KEYS[1], 'cap', 'keep')
return {tonumber(n), tonumber(said[1]), tonumber(said[2])}
