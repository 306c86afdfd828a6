-- Dead jobs by what is the trouble.
-- ARGV[1] how many groups at most
-- Returns for each {fingerprint, sample, how many, when the newest died}, those with most first
-- One script, so that all are of one moment.

local FPS, max = root .. 'fps', tonumber(ARGV[1])
local fingerprints = {}
if call('HLEN', FPS) <= max then
  fingerprints = call('HKEYS', FPS)
else
  -- Those of the newest.
  local has, ids = {}, call('ZRANGE', root .. 'dead', -2 * max, -1)
  for i = #ids, 1, -500 do
    local of = call('HMGET', root .. 'deadfp', unpack(ids, math.max(1, i - 499), i))
    for j = #of, 1, -1 do
      if of[j] and not has[of[j]] and #fingerprints < max then
        has[of[j]] = true
        fingerprints[#fingerprints + 1] = of[j]
      end
    end
  end
end
local groups = {}
for _, fingerprint in ipairs(fingerprints) do
  local of = root .. 'dead:' .. fingerprint
  local newest = call('ZRANGE', of, -1, -1, 'WITHSCORES')[2]
  if newest then
    local sample = call('HGET', FPS, fingerprint) or ''
    groups[#groups + 1] = {fingerprint, sample, call('ZCARD', of), tonumber(newest)}
  end
end
table.sort(groups, function(a, b)
  return a[3] > b[3] or a[3] == b[3] and a[1] < b[1]
end)
return groups
