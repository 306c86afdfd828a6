-- Who takes jobs.
-- Returns {lane, what people know its worker by, when it joined, end of its lease, how many jobs it may have, how many it has}
-- of each
-- One script, so that what moves from one to another is counted once.

local told = {}
local lanes = call('ZRANGE', LANES, 0, -1, 'WITHSCORES')
for i = 1, #lanes, 2 do
  local lane = lanes[i]
  local label, joined, slots = match(call('HGET', root .. 'names', lane) or '', '^(.*)%z(%d+)%z(%d+)$')
  local has = call('HMGET', root .. 'r:' .. lane, LAST, STOP)
  local running_here = call('HLEN', root .. 'r:' .. lane) - (has[1] and 1 or 0) - (has[2] and 1 or 0)
  told[#told + 1] = {lane, label or '', tonumber(joined or 0), tonumber(lanes[i + 1]), tonumber(slots or 0), running_here}
end
return told
