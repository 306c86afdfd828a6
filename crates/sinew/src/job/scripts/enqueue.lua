-- Enqueues jobs, all or none.
-- ARGV[1] how many partitions the queue has, as the caller believes  ARGV[2] most unfinished, where nothing was said
-- ARGV[3] how many jobs  then these, as put.lua has them
-- Returns {1, of each 'n' new · '=' it is there already · 'D' and who has its unique name · 'R' and whom it replaces}
-- {0, partitions} it has another number · {3, unfinished, most} full
-- One script, because of two with one unique name one is to be enqueued, and a job is to be found where its record says.

local n_jobs = tonumber(ARGV[3])
if said[14] and said[14] ~= ARGV[1] then
  return {0, tonumber(said[14])}
end
-- Of a plain one, which most are, only its priority and its record are made.
local ids, prios, records, jobs, i = {}, {}, {}, {}, 4
local plain_head = '\0' .. STAMP
for j = 1, n_jobs do
  ids[j] = ARGV[i]
  if ARGV[i + 1] == PLAIN then
    local prio = (byte(ARGV[i + 2]) or 53) - 48
    prios[j], records[j] = prio >= 0 and prio <= 9 and prio or 5, plain_head .. ARGV[i + 2]
    i = i + 3
  else
    jobs[j], i = job_at(i)
    prios[j], records[j] = jobs[j].prio, jobs[j].v
  end
end

-- Which are there already: those of one shard are asked for together. All types are looked at before anything is written.
local there, are_there, first = {}, 0, 1
while first <= n_jobs do
  local of, last = sub(ids[first], 8, 9), first
  while last < n_jobs and sub(ids[last + 1], 8, 9) == of do
    last = last + 1
  end
  local has = call('HMGET', root .. 'b' .. of, unpack(ids, first, last))
  for k = 1, #has do
    if has[k] then
      there[ids[first + k - 1]] = true
      are_there = are_there + 1
    end
  end
  first = last + 1
end
local looked, first_due = {}, nil
for j = 1, n_jobs do
  local due = jobs[j] and jobs[j].due or 0
  if due > now then
    first_due = math.min(first_due or due, due)
  elseif not looked[prios[j]] then
    looked[prios[j]] = true
    call('LLEN', root .. 'w' .. prios[j])
  end
end
local tokens = call('LLEN', WAKE)
local was_due = first_due and next_due()

local cap = tonumber(said[15] or ARGV[2])
-- What was written by an earlier call needs no room.
local more = n_jobs - are_there
if more > 0 and size + more > cap then
  return {3, size, cap}
end
local set = {}
if not said[14] then
  set = {'n', ARGV[1], 'cap', int(cap)}
end

-- Records are written together; those that more hangs on at once, since what follows looks for them.
local told, fields, named = {1}, {}, {}
local function write_records()
  by_shard('HSET', fields)
  fields = {}
end
for j = 1, n_jobs do
  local id, job = ids[j], jobs[j]
  local digest = job and job.l and job.l.digest or ''
  local outcome, replaced = 'n', nil
  if there[id] then
    outcome = '='
  elseif digest ~= '' then
    outcome, replaced = claim(job, not named[digest])
    outcome = outcome or replaced and 'R' .. replaced or 'n'
  end
  -- Also of one that is there: sent again, the same call answers the same.
  named[digest] = true
  told[j + 1] = outcome
  if outcome == 'n' or replaced then
    there[id] = true
    local of = sub(id, 8, 9)
    local list = fields[of]
    if not list then
      list = {}
      fields[of] = list
    end
    local n = #list
    list[n + 1], list[n + 2] = id, records[j]
    if job then
      if job.l then
        write_records()
      end
      place(job)
    else
      push(prios[j], id)
      size = size + 1
    end
  end
end
write_records()
flush()
write_meta(set)
local wanted = runnable
if first_due and (was_due == 0 or first_due < was_due) then
  -- Who has nothing to do has to hear of an earlier time.
  wanted = wanted + 1
end
if wanted > 0 and tokens < WAKES_MAX then
  wake(wanted)
end
write_counts()
return told
