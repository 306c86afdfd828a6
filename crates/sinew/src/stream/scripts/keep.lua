-- Says that a group is not to be forgotten, where it is there, as whoever reads it does.
-- KEYS[1] log  KEYS[2] groups   ARGV[1] group
-- Returns 1 · 0 no such group
-- One script, because a group that is removed meanwhile is to leave nothing behind.

if redis.call('HEXISTS', KEYS[2], ARGV[1] .. ':mode') == 0 then
  return 0
end
redis.call('HSET', KEYS[2], ARGV[1] .. ':seen', int(now))
return 1
