-- What is to be done when a job ends, of the scripts that have jobs end. It goes behind parts.lua.

local DEAD, OUTB = root .. 'dead', root .. 'outb'
-- As model/bounds.rs has them.
local DEAD_LEN_MAX, DEAD_KEEP_MS = 100000, 90 * 86400000
local BATCH_KEEP_MS, TOLD_LEN_MAX = 90 * 86400000, 65536

-- Whether someone waits for the end of a job.
local function is_awaited(id)
  if has_waiters == nil then
    has_waiters = call('ZCARD', WAIT) > 0
  end
  return has_waiters and tonumber(call('ZSCORE', WAIT, id) or 0) >= now
end

-- Tells whoever waits: d done with its result · D done with one that is too long · x dead · g gone
local function tell_end(id, letter, info)
  call('ZREM', WAIT, id)
  if #info > TOLD_LEN_MAX then
    letter, info = 'D', ''
  end
  call('PUBLISH', root .. 'ended', id .. ';' .. letter .. ';' .. info)
end

-- Something is to be enqueued elsewhere.
local function owe(member, jobs)
  if jobs then
    has_owed = true
    call('HSET', OUTB, member, jobs)
    call('ZADD', OUT, 'NX', int(now), member)
  end
end

-- Has the callbacks of a batch follow, each once, where its time has come.
local function look_at_batch(batch)
  local key = root .. 'batch:' .. batch
  local b = call('HMGET', key, 'sealed', 'left', 'failed', 'gone', 'told', 'c', 's')
  if b[1] == '1' and tonumber(b[2] or 0) <= 0 then
    local told = b[5] or ''
    if not string.find(told, 'c', 1, true) then
      owe(batch .. 'c', b[6])
      told = told .. 'c'
    end
    local is_success = tonumber(b[3] or 0) <= 0 and tonumber(b[4] or 0) <= 0
    if is_success and not string.find(told, 's', 1, true) then
      owe(batch .. 's', b[7])
      told = told .. 's'
    end
    if told ~= (b[5] or '') then
      call('HSET', key, 'told', told)
    end
  end
  call('PEXPIRE', key, BATCH_KEEP_MS)
end

-- A job of a batch has ended, or one that was dead is to be tried again.
local function change_batch(batch, left, field, by)
  local key = root .. 'batch:' .. batch
  if batch ~= '' and call('EXISTS', key) == 1 then
    call('HINCRBY', key, 'left', left)
    if field then
      call('HINCRBY', key, field, by)
    end
    look_at_batch(batch)
  end
end

-- A job has ended that has a unique name, which counts until its window is over.
local function release(id, digest)
  local holder, ends = nil, nil
  if digest ~= '' then
    holder, ends = holder_of(digest)
  end
  if holder == id then
    local key = root .. 'u:' .. digest
    if ends > now then
      call('SET', key, id .. ';' .. int(ends) .. ';', 'PXAT', int(ends))
    else
      call('DEL', key)
    end
  end
end

-- The same of one that has not run to its end, and will not.
local function release_now(id, digest)
  if digest ~= '' and holder_of(digest) == id then
    call('DEL', root .. 'u:' .. digest)
  end
end

-- Removes all that there is of a job.
local function forget(id)
  call('HDEL', shard(id), id, id .. 'f', id .. 'p', id .. 'l', id .. '+')
end

local function is_unfinished(id)
  local v = call('HMGET', shard(id), id, id .. 'f')
  return v[1] and v[1] ~= '' and not v[2] and not call('ZSCORE', DEAD, id)
end

-- Takes a job from the dead. Whether it was there.
local function undead(id)
  if call('ZREM', DEAD, id) == 0 then
    return false
  end
  local fingerprint = call('HGET', root .. 'deadfp', id)
  if fingerprint then
    call('HDEL', root .. 'deadfp', id)
    call('ZREM', root .. 'dead:' .. fingerprint, id)
    if call('EXISTS', root .. 'dead:' .. fingerprint) == 0 then
      call('HDEL', root .. 'fps', fingerprint)
    end
  end
  return true
end

-- Drops dead jobs that are too old, or too many. So many at most.
local function drop_old_dead(max)
  local old = call('ZRANGE', DEAD, '-inf', int(now - DEAD_KEEP_MS), 'BYSCORE', 'LIMIT', 0, max)
  local over = call('ZCARD', DEAD) - DEAD_LEN_MAX
  if over > #old then
    old = call('ZRANGE', DEAD, 0, math.min(over, max) - 1)
  end
  for _, id in ipairs(old) do
    undead(id)
    forget(id)
  end
  if #old > 0 then
    count('dead_dropped', #old)
  end
end

-- A job is given up. Whoever calls this has freed its key.
local function bury(id, v, l, first, note, fingerprint, sample)
  call('HSET', shard(id), id, rewritten(v, l, first, note))
  call('ZADD', DEAD, int(now), id)
  size = size - 1
  count('dead', 1)
  call('ZADD', root .. 'dead:' .. fingerprint, int(now), id)
  call('HSET', root .. 'deadfp', id, fingerprint)
  call('HSET', root .. 'fps', fingerprint, sample)
  release(id, l.digest)
  change_batch(l.batch, -1, 'failed', 1)
  if is_awaited(id) then
    tell_end(id, 'x', '')
  end
  drop_old_dead(32)
end

-- A job that has not begun is gone: it was cancelled, or another takes its place. Its id in a list is passed over. Whether
-- it waited for its time.
local function remove(id, l)
  local was_due = call('ZREM', SCHED, due_member(id, l)) == 1
  if was_due then
    forget(id)
  elseif l.key ~= '' then
    keyed = keyed - call('ZREM', root .. 'g:' .. l.key, id)
    forget(id)
  else
    forget(id)
    call('HSET', shard(id), id, '')
  end
  return was_due
end

-- What is to be done besides when a job is gone that had not ended.
local function gone(id, l)
  release_now(id, l.digest)
  change_batch(l.batch, -1, 'gone', 1)
  size = size - 1
  if is_awaited(id) then
    tell_end(id, 'g', '')
  end
end

-- Cancels a job that has not ended, and that a lane has, or none. Whether it waited for its time.
local function cancel(id, l, lane)
  local was_due = false
  if lane then
    local key = root .. 'r:' .. lane
    -- Its place stays taken until its handler has ended: by then the record is gone that says whose that is.
    call('HSET', key, id, '!' .. (call('HGET', key, id) or '') .. (l.key ~= '' and ':' .. l.key or ''))
    call('HSET', key, STOP, (call('HGET', key, STOP) or '') .. id)
    forget(id)
    -- As long as it runs no other has its id.
    call('HSET', shard(id), id, '')
  else
    was_due = remove(id, l)
  end
  gone(id, l)
  return was_due
end
