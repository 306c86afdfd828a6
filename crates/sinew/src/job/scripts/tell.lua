-- Keeps what a handler tells of its job.
-- ARGV[1] lane  ARGV[2] id  ARGV[3] fence  ARGV[4] '1' with progress  ARGV[5] that  ARGV[6] most lines of a log
-- ARGV[7] most bytes of it  then lines
-- Returns 1 · 2 the job was cancelled, and is the lane's yet · 0 it is not the lane's any more
-- One script, because what is kept of a job goes with it.

local id = ARGV[2]
local LANE = root .. 'r:' .. ARGV[1]
local mark = call('HGET', LANE, id)
local was_cancelled, fence, flags = match(mark or '', '^(!?)(%d+)(%l*)')
if was_cancelled == '!' and fence == ARGV[3] then
  return 2
end
local v = fence == ARGV[3] and call('HGET', shard(id), id)
if not v or v == '' then
  return 0
end
if ARGV[4] == '1' then
  call('HSET', shard(id), id .. 'p', ARGV[5])
end
if #ARGV > 7 then
  local most_lines, most_bytes = tonumber(ARGV[6]), tonumber(ARGV[7])
  local log, more = call('HGET', shard(id), id .. 'l') or '', table.concat(ARGV, '\n', 8) .. '\n'
  -- A second run, since the reply was lost, tells nothing new.
  if sub(log, -#more) ~= more then
    log = log .. more
    local _, lines = string.gsub(log, '\n', '')
    local at = 1
    while lines > most_lines or #log - at + 1 > most_bytes do
      at = (string.find(log, '\n', at, true) or #log) + 1
      lines = lines - 1
    end
    call('HSET', shard(id), id .. 'l', sub(log, at))
  end
end
if not string.find(flags, 'x', 1, true) then
  call('HSET', LANE, id, mark .. 'x')
end
if byte(v) % 128 < 64 then
  call('HSET', shard(id), id, string.char(byte(v) + 64) .. sub(v, 2))
end
return 1
