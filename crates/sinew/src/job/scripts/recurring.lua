-- The recurring jobs of a partition.
-- Returns {now, for each: name, revision, definition, last tick, last job or ''…}
-- One script, so that a definition has its own ticks.

local told, all = {now}, call('HGETALL', root .. 'rec')
for i = 1, #all, 2 do
  local revision, definition = match(all[i + 1], '^(%d+)%z[^%z]*%z(.*)$')
  if revision then
    told[#told + 1] = all[i]
    told[#told + 1] = tonumber(revision)
    told[#told + 1] = definition
    told[#told + 1] = tonumber(call('HGET', root .. 'rect', all[i]) or 0)
    told[#told + 1] = call('HGET', root .. 'reci', all[i]) or ''
  end
end
return told
