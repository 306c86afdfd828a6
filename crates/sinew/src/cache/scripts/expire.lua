-- Makes an entry out of date, without removing it, and revokes any load under way.
-- KEYS[1] entry  KEYS[2] lease  KEYS[3] version   ARGV[1] lease time in ms
-- Returns 1 the entry was there · 0 it was not
-- One script, because a load between the writes would store what is out of date as fresh.

redis.call('UNLINK', KEYS[2])
-- A write with an older version may be on its way: while that can be, all lose.
redis.call('SET', KEYS[3], '99999999999999999999', 'PX', ARGV[1])
local entry = redis.pcall('GET', KEYS[1])
local header = type(entry) == 'string' and string.sub(entry, 1, 5)
if header == '\245SNW\2' and #entry >= 52 then
  -- The flags "kept past its freshness" and "expired by hand", beside those that it has.
  local flags = string.byte(entry, 7)
  flags = bit.bor(flags, 3)
  local now = redis.call('TIME')
  local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
  local fresh_until = struct.unpack('>I8', string.sub(entry, 25, 32))
  redis.call('SETRANGE', KEYS[1], 6, string.char(flags))
  redis.call('SETRANGE', KEYS[1], 24, struct.pack('>I8', math.min(fresh_until, now_ms)))
  return 1
end
-- Not one that can be kept. And deleting a missing key tells no one.
redis.call('UNLINK', KEYS[1])
redis.call('SET', KEYS[1], '', 'PX', 1000)
redis.call('UNLINK', KEYS[1])
return entry and 1 or 0
