-- Reads entries of a partition as its owner: new ones, or those that are pending.
-- KEYS[1] log  KEYS[2] owner  KEYS[3] tries  KEYS[4] due  KEYS[5] meta
-- ARGV[1] group  ARGV[2] fence  ARGV[3] '>', or the id after which  ARGV[4] how many at most
-- Returns {1, entries, lost ids} · {0} another has it · {-1} no such group
-- One script, because an owner that was stopped and wakes is to read nothing that its successor would run.

local group, from = ARGV[1], ARGV[3]
if redis.call('HGET', KEYS[2], 'fence') ~= ARGV[2] then
  return {0}
end
local got = redis.pcall('XREADGROUP', 'GROUP', group, ORDERED, 'COUNT', ARGV[4], 'STREAMS', LOG, from)
if is_gone(got) then
  return {-1}
elseif got and got.err then
  return got
end
local entries, lost = {}, {}
for _, entry in ipairs(got and got[1] and got[1][2] or {}) do
  if entry[2] then
    entries[#entries + 1] = entry
  else
    lost[#lost + 1] = entry[1]
  end
end
if #lost > 0 then
  redis.call('XACK', LOG, group, unpack(lost))
  forget_tries(KEYS[3], KEYS[4], lost)
  redis.call('HINCRBY', KEYS[5], 'lost', #lost)
end
with_tries(KEYS[3], entries)
if from ~= '>' and #entries > 0 and redis.call('EXISTS', KEYS[4]) == 1 then
  for _, entry in ipairs(entries) do
    entry[3], entry[4] = entry[3] or '', entry[4] or 0
    entry[5] = tonumber(redis.call('ZSCORE', KEYS[4], entry[1]) or 0)
  end
end
return {1, entries, lost}
