-- Finds what a consumer was given and never heard of.
-- KEYS[1] log  KEYS[2] tries  KEYS[3] meta  KEYS[4] due
-- ARGV[1] group  ARGV[2] consumer  ARGV[3] how many at most  then ids that it knows
-- Returns {1, entries, lost ids} · {-1} no such group

local group, me, known = ARGV[1], ARGV[2], {}
local held = redis.pcall('XPENDING', LOG, group, '-', '+', 8192, me)
if is_gone(held) then
  return {-1}
elseif held.err then
  return held
end
for i = 4, #ARGV do
  known[ARGV[i]] = true
end
local asked = {}
for _, one in ipairs(held) do
  if not known[one[1]] and #asked < tonumber(ARGV[3]) then
    asked[#asked + 1] = one[1]
  end
end
if #asked == 0 then
  return {1, {}, {}}
end
local entries = redis.call('XCLAIM', LOG, group, me, 0, unpack(asked))
return {1, with_tries(KEYS[2], entries), missing(asked, entries, KEYS[3], KEYS[2], KEYS[4])}
