-- Enqueues jobs, of the scripts that do. It goes behind ends.lua.

-- What a record has before its body, behind its first byte; and how most are enqueued: bound by nothing, and due now.
local STAMP, PLAIN = struct.pack('>I6', now) .. '\0\0\0', '0n'

-- Reads a job that is to be enqueued from the arguments: id, its flags and when it is due ('n' now, 'i' and in so many ms,
-- 'a' and when), body; where it is bound also how long its unique name counts in ms, 's' to leave another that has it or
-- 'r' to replace it or '' without one, and what follows it or ''. Returns it, and where the next one is.
local function job_at(i)
  local flags, how, ms = match(ARGV[i + 1], '^(%d+)(%l)(%d*)$')
  flags = tonumber(flags)
  local v = string.char(flags) .. STAMP .. ARGV[i + 2]
  local l = lead(v)
  local job = {
    id = ARGV[i], v = v, due = how == 'i' and now + ms or tonumber(ms) or 0, prio = l.prio, key = '',
  }
  if flags < 128 then
    return job, i + 3
  end
  job.l, job.key = l, l.key
  job.window, job.policy, job.follows = tonumber(ARGV[i + 3]), ARGV[i + 4], ARGV[i + 5]
  return job, i + 6
end

-- Writes a job where it belongs, but for its record.
local function place(job)
  if job.due > now then
    call('ZADD', SCHED, int(job.due), due_member(job.id, job))
  else
    ready(job.id, job)
  end
  size = size + 1
  local l = job.l
  if l then
    if job.follows ~= '' then
      call('HSET', shard(job.id), job.id .. '+', job.follows)
    end
    if l.batch ~= '' then
      local key = root .. 'batch:' .. l.batch
      call('HINCRBY', key, 'left', 1)
      call('HINCRBY', key, 'total', 1)
      call('PEXPIRE', key, BATCH_KEEP_MS)
    end
  end
end

-- Takes a job's unique name. Returns nothing where it has it now, what came of it otherwise, and whom it replaces.
local function claim(job, may_replace)
  local holder, ends, lane = holder_of(job.l.digest)
  local replaced
  if holder == job.id then
    -- It has ended since an earlier call, whose reply was lost, has written it.
    return '='
  elseif holder and is_unfinished(holder) then
    if lane ~= '' or not may_replace or job.policy ~= 'r' then
      return 'D' .. holder
    end
    local l = lead(call('HGET', shard(holder), holder))
    remove(holder, l)
    gone(holder, l)
    replaced = holder
  elseif holder and ends > now then
    return 'D' .. holder
  end
  local counts_until = job.window > 0 and now + job.window or 0
  call('SET', root .. 'u:' .. job.l.digest, job.id .. ';' .. int(counts_until) .. ';')
  return nil, replaced
end
