-- Has a tick of a recurring job make its job, once.
-- ARGV[1] name  ARGV[2] revision  ARGV[3] tick in ms  ARGV[4] 's' skip, 'a' allow, 'r' replace: where the last job has not ended
-- ARGV[5] most unfinished, where nothing was said  then the job, as put.lua has it; its unique name does not count
-- Returns {1} · {0} another revision · {2} another was first · {3, now} it is not time yet · {4} the last job has not ended
-- {5} full
-- One script, because of all schedulers one is to fire, and the tick is to be noted with its job, or not at all.

local name, tick = ARGV[1], tonumber(ARGV[3])
local definition = call('HGET', root .. 'rec', name)
if not definition or match(definition, '^%d+') ~= ARGV[2] then
  return {0}
elseif tick <= tonumber(call('HGET', root .. 'rect', name) or 0) then
  return {2}
elseif tick > now then
  return {3, now}
end
local last = call('HGET', root .. 'reci', name)
local is_on = last and ARGV[4] ~= 'a' and is_unfinished(last)
if is_on and ARGV[4] == 's' then
  call('HSET', root .. 'rect', name, int(tick))
  return {4}
end
local cap = tonumber(said[15] or ARGV[5])
if size >= cap then
  return {5}
end
call('LLEN', WAKE)
local job = job_at(6)
call('HEXISTS', shard(job.id), job.id)
call('LLEN', root .. 'w' .. job.prio)
if is_on then
  local l = lead(call('HGET', shard(last), last))
  cancel(last, l, lane_of(last, l))
end
call('HSET', root .. 'rect', name, int(tick))
call('HSET', root .. 'reci', name, job.id)
if call('HSETNX', shard(job.id), job.id, job.v) == 1 then
  place(job)
end
flush()
wake(runnable)
write_counts()
write_meta()
return {1}
