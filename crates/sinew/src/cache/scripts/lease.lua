-- Gives the right to load an entry to one caller, unless the entry is there.
-- KEYS[1] entry  KEYS[2] lease
-- ARGV[1] '' or 'r' and the nonce of an entry that the caller could not use
-- ARGV[2] token of this very request, never sent twice  ARGV[3] lease time in ms
-- Returns {'entry', bytes} · {'leased'} · {'wait', ms left, token of the holder}
-- One script, because an entry may be filled between the look and the lease.

-- Anything but a string is garbage of someone else's: as good as nothing.
local function text(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value
end

local entry = text(KEYS[1])
if entry and ARGV[1] ~= 'r' .. string.sub(entry, 9, 16) then
  return {'entry', entry}
end
local holder = text(KEYS[2])
local left = holder and redis.call('PTTL', KEYS[2]) or 0
-- A lease without a TTL is not ours: waiting for it could last for ever.
if left > 0 then
  return {'wait', left, holder}
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return {'leased'}
