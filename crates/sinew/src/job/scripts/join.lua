-- Begins a lane.
-- ARGV[1] lane  ARGV[2] what people know its worker by  ARGV[3] how many jobs it may have  ARGV[4] lease in ms
-- ARGV[5] how many lanes there are with it at most
-- Returns {1, now} · {0} another had the name, or has lost it · {2} there are too many
-- One script, because of two that are the last for which there is room one is.

local NAMES = root .. 'names'
local lane, label, slots = ARGV[1], ARGV[2], ARGV[3]
local was = call('HGET', NAMES, lane)
if was then
  -- By this very call, of which the reply was lost.
  local of, for_slots = match(was, '^(.*)%z%d+%z(%d+)$')
  if of ~= label or for_slots ~= slots then
    return {0}
  end
elseif call('ZSCORE', LANES, lane) or call('EXISTS', root .. 'r:' .. lane) == 1 then
  return {0}
elseif call('ZCARD', LANES) >= tonumber(ARGV[5]) then
  return {2}
else
  was = label .. '\0' .. int(now) .. '\0' .. slots
end
call('ZADD', LANES, int(now + ARGV[4]), lane)
call('HSET', NAMES, lane, was)
return {1, now}
