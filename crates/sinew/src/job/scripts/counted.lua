-- The newest counters that there are, the oldest first.
-- ARGV[1] 's' of minutes or 'd' of days  ARGV[2] how many  ARGV[3] how long each is, in ms
-- Returns {when it began, name, number, …} of each
-- One script, so that none moves on while they are read.

local each, told = tonumber(ARGV[3]), {}
local last = floor(now / each)
for i = last - tonumber(ARGV[2]) + 1, last do
  local counters = call('HGETALL', root .. ARGV[1] .. ':' .. int(i))
  if #counters > 0 then
    table.insert(counters, 1, i * each)
    told[#told + 1] = counters
  end
end
return told
