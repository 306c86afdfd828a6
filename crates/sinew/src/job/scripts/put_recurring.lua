-- Defines a recurring job.
-- ARGV[1] name  ARGV[2] definition  ARGV[3] its schedule  ARGV[4] revision that is to be there, 0 none, or '' whichever
-- ARGV[5] how many there are at most
-- Returns {revision, definition, last tick, last job or ''} as it is now · {} another revision is there, or no room
-- One script, because of two changes to one revision one is to count.

local REC, RECT = root .. 'rec', root .. 'rect'
local name = ARGV[1]
local was = call('HGET', REC, name)
local revision, schedule, definition = match(was or '', '^(%d+)%z([^%z]*)%z(.*)$')
local last = call('HMGET', RECT, name)[1]
local job = call('HGET', root .. 'reci', name) or ''
-- What is there already, perhaps by an earlier call whose reply was lost, is not changed.
if definition ~= ARGV[2] or schedule ~= ARGV[3] then
  if ARGV[4] ~= '' and tonumber(ARGV[4]) ~= tonumber(revision or 0) then
    return {}
  elseif not was and call('HLEN', REC) >= tonumber(ARGV[5]) then
    return {}
  end
  if schedule ~= ARGV[3] or not last then
    last = int(now)
    call('HSET', RECT, name, last)
  end
  revision = int(call('HINCRBY', META, 'recs', 1))
  call('HSET', REC, name, revision .. '\0' .. ARGV[3] .. '\0' .. ARGV[2])
end
return {tonumber(revision), ARGV[2], tonumber(last or 0), job}
