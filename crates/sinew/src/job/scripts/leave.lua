-- Ends a lane. What it still has waits again, first of all, as if it had not been taken.
-- ARGV[1] lane
-- Returns how many it had
-- One script, because a lane that is gone has to have nothing.

call('LLEN', WAKE)
if not call('ZSCORE', LANES, ARGV[1]) then
  return 0
end
local had = end_lane(ARGV[1], give_back)
flush()
wake(runnable + suspects)
write_meta()
return had
