-- Looks for a job. Where it has not ended, its end may be told for a while, and its result is kept then.
-- ARGV[1] id  ARGV[2] for how long its end is told, in ms, or 0
-- Returns what found() does, or nothing
-- One script, because it may end between the look and the wish to hear of it.

local id = ARGV[1]
-- Whoever awaits its end asks again and again, and not for its lane.
local job = found(id, nil, ARGV[2] ~= '0' and '' or nil)
local is_ended = job and (job[2] == 'k' or job[2] == 'd')
if job and not is_ended and ARGV[2] ~= '0' then
  call('ZADD', WAIT, 'GT', int(now + ARGV[2]), id)
  call('ZREMRANGEBYSCORE', WAIT, '-inf', '(' .. int(now))
  -- It goes with the last that waits: as long as it is there, each turn looks who does.
  call('PEXPIRE', WAIT, int(call('ZRANGE', WAIT, -1, -1, 'WITHSCORES')[2] - now + 1))
end
return job or false
