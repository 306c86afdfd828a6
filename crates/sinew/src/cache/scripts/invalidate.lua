-- Removes an entry and revokes any load under way.
-- KEYS[1] entry  KEYS[2] lease  KEYS[3] version   ARGV[1] lease time in ms
-- Returns 1 the entry was there · 0 it was not
-- One script, because a load between the two deletes would bring the old value back.

-- Deletes first: a Redis that is full refuses a script whose first write needs memory.
local there = redis.call('EXISTS', KEYS[1])
redis.call('UNLINK', KEYS[1], KEYS[2])
-- A write with an older version may be on its way: while that can be, all lose.
redis.call('SET', KEYS[3], '99999999999999999999', 'PX', ARGV[1])
-- Deleting a missing key tells no one. Writing it does, and so ends loads in other processes.
redis.call('SET', KEYS[1], '', 'PX', 1000)
redis.call('UNLINK', KEYS[1])
return there
