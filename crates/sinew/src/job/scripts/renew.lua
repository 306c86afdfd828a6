-- Renews the lease of a lane, and never makes one. Does besides what is due, so that it moves though all are busy.
-- ARGV[1] lane  ARGV[2] lease in ms, then of those that it is thought to hold: id, fence
-- Returns {1, now, next due or 0, 1 something is owed, ids that are to stop, or are not held…} · {0} the lane has fallen
-- One script, because what was taken from a lane is not to come back to it.

local lane = ARGV[1]
if not call('ZSCORE', LANES, lane) then
  return {0}
end
local asked = {STOP}
for i = 3, #ARGV, 2 do
  asked[#asked + 1] = ARGV[i]
end
local has = call('HMGET', root .. 'r:' .. lane, unpack(asked))
local gone = has[1] and ids_in(has[1]) or {}
for i = 2, #asked do
  if match(has[i] or '', '^!?(%d+)') ~= ARGV[2 * i] then
    gone[#gone + 1] = asked[i]
  end
end
call('LLEN', WAKE)
call('LLEN', SUS)
call('ZCARD', KEPT)
call('ZADD', LANES, 'XX', int(now + ARGV[2]), lane)
local set = keep_alive(lane)
promote(PROMOTE_MAX)
reclaim(lane)
forget_kept()
flush()
wake(runnable + suspects)
pcall(write_counts)
write_meta(set)
return {1, now, math.min(next_due(), 2 ^ 53), is_owing() and 1 or 0, unpack(gone)}
