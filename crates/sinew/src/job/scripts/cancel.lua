-- Cancels a job that has not ended.
-- ARGV[1] id
-- Returns 1 it had not begun · 5 the same, before its time · 4 it runs, and its lane is told · 2 it is done · 3 it is dead · 0 there is no such job
-- One script, because it may begin, or end, between the look and the cancellation.

local id = ARGV[1]
local v = call('HGET', shard(id), id)
if not v or v == '' then
  return 0
elseif call('HEXISTS', shard(id), id .. 'f') == 1 then
  return tonumber(call('ZSCORE', KEPT, id) or 0) > now and 2 or 0
elseif call('ZSCORE', DEAD, id) then
  return 3
end
call('LLEN', WAKE)
local l = lead(v)
local lane = lane_of(id, l)
local was_due = cancel(id, l, lane)
flush()
write_meta()
return lane and 4 or was_due and 5 or 1
