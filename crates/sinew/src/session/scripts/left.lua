-- Looks whether a session is live, and removes a save that lies there alone, since its session was evicted before it came.
-- ARGV[1] for how long it may go unused by whoever asks, in ms
-- Returns 1 · 0 it has ended
-- One script, because another may begin between the look and the removal.

local s = live(tonumber(ARGV[1]))
if not s and redis.call('PTTL', SESSION) == -1 then
  redis.call('UNLINK', SESSION)
end
return s and 1 or 0
