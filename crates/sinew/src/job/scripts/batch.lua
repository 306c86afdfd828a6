-- A batch: it is opened, all of its jobs are there, or someone looks at it.
-- ARGV[1] batch  ARGV[2] 'o' it is opened · 's' all are there · 'l' a look
-- ARGV[3] what follows where all are done, or ''  ARGV[4] what follows where all have ended, or ''
-- Returns {total, left, failed, gone, 1 all are there} · {} there is none
-- One script, because the last job may end while it is said that all are there.

local key = root .. 'batch:' .. ARGV[1]
local is_there = call('EXISTS', key) == 1
if ARGV[2] == 'o' and call('HSETNX', key, 'opened', int(now)) == 1 then
  for i, name in ipairs({'s', 'c'}) do
    if ARGV[i + 2] ~= '' then
      call('HSET', key, name, ARGV[i + 2])
    end
  end
  for _, name in ipairs({'total', 'left', 'failed', 'gone'}) do
    call('HSETNX', key, name, 0)
  end
  call('PEXPIRE', key, BATCH_KEEP_MS)
elseif not is_there then
  return {}
elseif ARGV[2] == 's' then
  call('HSET', key, 'sealed', '1')
  look_at_batch(ARGV[1])
end
local b = call('HMGET', key, 'total', 'left', 'failed', 'gone', 'sealed')
for i = 1, 5 do
  b[i] = math.max(0, tonumber(b[i] or 0))
end
return b
