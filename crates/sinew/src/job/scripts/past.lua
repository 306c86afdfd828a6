-- What is known of jobs that are done, the newest turn first.
-- ARGV[1] how many turns are passed over  ARGV[2] how many turns
-- Returns {when, lines, …}
-- One script, so that a turn that comes meanwhile moves none.

local from, max = tonumber(ARGV[1]), tonumber(ARGV[2])
local turns = max > 0 and call('LRANGE', root .. 'past', int(-from - max), int(-from - 1)) or {}
local told = {}
for i = #turns, 1, -1 do
  local at, lines = match(turns[i], '^(%d+);%d+;(.*)$')
  if at then
    told[#told + 1] = tonumber(at)
    told[#told + 1] = lines
  end
end
return told
