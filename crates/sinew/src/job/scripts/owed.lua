-- What is to be enqueued elsewhere. For a while it is no one else's.
-- ARGV[1] how many  ARGV[2] for how long, in ms
-- Returns {member, jobs, …}
-- One script, because of two that ask one is to have it.

local OUTB = root .. 'outb'
local told = {}
for _, member in ipairs(call('ZRANGE', OUT, '-inf', int(now), 'BYSCORE', 'LIMIT', 0, ARGV[1])) do
  local jobs = call('HGET', OUTB, member)
  if jobs then
    call('ZADD', OUT, int(now + ARGV[2]), member)
    told[#told + 1] = member
    told[#told + 1] = jobs
  else
    call('ZREM', OUT, member)
  end
end
return told
