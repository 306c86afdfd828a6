-- What the scripts of jobs have in common; it goes before each.
-- KEYS[1] is `meta` of a partition of a queue. All other keys are made of what it begins with, hence are in its slot: a
-- step has to do with up to a thousand shards of jobs, which it learns as it goes.
-- An id is text, never a number. A record is what model/record.rs writes; an empty one is what is left of a job that was
-- cancelled while its id is in a list, or it runs: until a pop meets it, or its handler has ended.

local call, sub, byte, match, floor = redis.call, string.sub, string.byte, string.match, math.floor
local TIME = call('TIME')
local now_us = TIME[1] * 1000000 + TIME[2]
local now = floor(now_us / 1000)
local META = KEYS[1]
local root = sub(META, 1, -5)
local LANES, SCHED, WAKE, SUS, ACT, TOK =
  root .. 'lanes', root .. 'sched', root .. 'wake', root .. 'sus', root .. 'act', root .. 'tok'
local WAIT, OUT, KEPT = root .. 'wait', root .. 'out', root .. 'kept'
-- What a lane's HASH has beside its jobs: its last request, and those that are to stop.
local LAST, STOP = '#', '!'
local ID_LEN = 26

-- As model/bounds.rs has them.
local CRASHES_MAX, PROMOTE_MAX, WAKES_MAX, COUNTERS_MAX = 5, 256, 64, 2048
-- After how long a job is tried to be put where it belongs that could not be: a key there is something else.
local PUT_OFF_MS = 60000
-- A score of a key's waiting is this for each priority that is less than 9, and a number that counts up.
local PRIORITY = 2 ^ 49

-- `..` would write the last digits of a large one away, and -0 as such.
local function int(n)
  return string.format('%d', n)
end

local said = call('HMGET', META, 'size', 'running', 'keyed', 'seq', 'per_key', 'fence', 'past', 'alive', 'paused',
  'global', 'rate', 'rate_ms', 'rated', 'n', 'cap', 'moved')
local size, running = tonumber(said[1] or 0), tonumber(said[2] or 0)
local keyed, seq, per_key = tonumber(said[3] or 0), tonumber(said[4] or 0), tonumber(said[5] or 0)
-- What a step finds out, or has done, as it goes: whether someone waits for some end; whether something is to be enqueued
-- elsewhere; how many suspects it has put aside.
local has_waiters, has_owed, suspects = nil, false, 0

-- Writes the numbers that have changed, and names and values besides.
local function write_meta(set)
  set = set or {}
  local names, are = {'size', 'running', 'keyed', 'seq'}, {size, running, keyed, seq}
  for i = 1, 4 do
    if are[i] ~= tonumber(said[i] or 0) then
      set[#set + 1] = names[i]
      set[#set + 1] = int(math.max(are[i], 0))
    end
  end
  if #set > 0 then
    call('HSET', META, unpack(set))
  end
end

-- The HASH that has a job: of the ids of 32 ms.
local function shard(id)
  return root .. 'b' .. sub(id, 8, 9)
end

-- Does one command for the fields of each shard, as many at a time as Lua hands on.
local function by_shard(command, fields)
  for name, of in pairs(fields) do
    for i = 1, #of, 500 do
      call(command, root .. 'b' .. name, unpack(of, i, math.min(i + 499, #of)))
    end
  end
end

-- What a script reads of a record: its first byte, where its body begins, its priority, and its key, unique name and
-- batch, '' where it has none; and where that ends.
local function lead(v)
  local a, b, c = byte(v, 8, 10)
  local at = 11 + (a or 0) * 65536 + (b or 0) * 256 + (c or 0)
  local prio = (byte(v, at) or 53) - 48
  local key_len = byte(v, at + 1) or 0
  local digest_at = at + 2 + key_len
  local digest_len = byte(v, digest_at) or 0
  local batch_at = digest_at + 1 + digest_len
  local batch_len = byte(v, batch_at) or 0
  return {
    first = byte(v), at = at, prio = math.max(0, math.min(prio, 9)), key = sub(v, at + 2, digest_at - 1),
    digest = sub(v, digest_at + 1, batch_at - 1), batch = sub(v, batch_at + 1, batch_at + batch_len),
    ends = batch_at + 1 + batch_len,
  }
end

local function note_of(v, l)
  return sub(v, 11, l.at - 1)
end

-- The record with another first byte and another note.
local function rewritten(v, l, first, note)
  local len = #note
  return string.char(first) .. sub(v, 2, 7) .. string.char(floor(len / 65536) % 256, floor(len / 256) % 256, len % 256)
    .. note .. sub(v, l.at)
end

-- What is to wait, by priority, in its order. One command writes what many steps have put there.
local pending, runnable = {}, 0

local function push(prio, member)
  local list = pending[prio]
  if not list then
    list = {}
    pending[prio] = list
  end
  list[#list + 1] = member
  runnable = runnable + 1
end

local function flush()
  for prio, list in pairs(pending) do
    for i = 1, #list, 500 do
      local last = math.min(i + 499, #list)
      if type(redis.pcall('RPUSH', root .. 'w' .. prio, unpack(list, i, last))) == 'table' then
        -- It is no list. A job is somewhere all the same, and a key is offered anew.
        for j = i, last do
          local key = match(list[j], '^@%d+:(.*)$')
          if key then
            call('HDEL', TOK, key)
          else
            call('ZADD', SCHED, int(now + PUT_OFF_MS), string.char(prio + 48) .. list[j])
          end
        end
      end
    end
  end
  pending = {}
end

-- Puts a key's next into the list of its priority, where it has one, may have one run, and is not there yet. It is a
-- token, not the job: which is next is only said when it is met. Of several tokens of a key the last one counts.
local function offer(key)
  if per_key > 0 and tonumber(call('HGET', ACT, key) or 0) >= per_key then
    return
  end
  local head = call('ZRANGE', root .. 'g:' .. key, 0, 0, 'WITHSCORES')
  if not head[1] then
    return
  end
  local prio = 9 - floor(tonumber(head[2]) / PRIORITY)
  local last = call('HGET', TOK, key)
  if last and tonumber(match(last, ':(%d)$') or -1) >= prio then
    return
  end
  seq = seq + 1
  push(prio, '@' .. int(seq) .. ':' .. key)
  call('HSET', TOK, key, int(seq) .. ':' .. int(prio))
end

-- A job is to be run as soon as there is a worker for it.
local function ready(id, l)
  if l.key == '' then
    push(l.prio, id)
    return
  end
  seq = seq + 1
  keyed = keyed + call('ZADD', root .. 'g:' .. l.key, int((9 - l.prio) * PRIORITY + seq), id)
  offer(l.key)
end

-- The same, before all others of its priority, or of its priority and key.
local function ready_first(id, l)
  if l.key == '' then
    call('LPUSH', root .. 'w' .. l.prio, id)
    runnable = runnable + 1
    return
  end
  keyed = keyed + call('ZADD', root .. 'g:' .. l.key, int((9 - l.prio) * PRIORITY), id)
  offer(l.key)
end

-- A job is to be run at its time. Of one with a key the member says so, by a letter.
local function due_member(id, l)
  return string.char(l.prio + (l.key == '' and 48 or 97)) .. id
end

-- One of a key's jobs runs no more.
local function free_place(key)
  if key ~= '' then
    if call('HINCRBY', ACT, key, -1) <= 0 then
      call('HDEL', ACT, key)
    end
    offer(key)
  end
end

local counts = {}

-- Adds to the statistics of the minute and of the day.
local function count(field, by)
  counts[field] = (counts[field] or 0) + by
end

-- Whoever enqueues says what a kind is called: where a period has too many, those that are new to it are one.
local function add_count(period, keep_s, field, by)
  if call('HINCRBY', period, field, by) == by then
    local what, of = match(field, '^([kh]):.*:(%w+)$')
    if what and call('HLEN', period) > COUNTERS_MAX then
      call('HDEL', period, field)
      call('HINCRBY', period, what .. ':other:' .. of, by)
    end
    call('EXPIRE', period, keep_s)
  end
end

local function write_counts()
  local minute, day = root .. 's:' .. floor(now / 60000), root .. 'd:' .. floor(now / 86400000)
  for field, by in pairs(counts) do
    add_count(minute, 93600, field, by)
    add_count(day, 34560000, field, by)
  end
end

-- How much there is in the lists.
local function waiting_in_lists()
  local n = call('LLEN', SUS)
  for prio = 0, 9 do
    n = n + call('LLEN', root .. 'w' .. prio)
  end
  return n
end

-- Tokens for those who wait: as many as there is work for, and there is room.
local function wake(count)
  count = count > 0 and math.min(count, WAKES_MAX - call('LLEN', WAKE)) or 0
  if count > 0 then
    local tokens = {}
    for i = 1, count do
      tokens[i] = ''
    end
    call('RPUSH', WAKE, unpack(tokens))
  end
end

-- When the next delayed job is due, or 0.
local function next_due()
  return tonumber(call('ZRANGE', SCHED, 0, 0, 'WITHSCORES')[2] or 0)
end

local function is_owing()
  -- What is something else owes nothing.
  return tonumber(redis.pcall('ZRANGE', OUT, 0, 0, 'WITHSCORES')[2] or math.huge) <= now
end

-- Ids that are written one behind the other.
local function ids_in(text)
  local ids = {}
  for at = 1, #text, ID_LEN do
    ids[#ids + 1] = sub(text, at, at + ID_LEN - 1)
  end
  return ids
end

-- Who has a unique name: its job, until when it counts although that has ended, and which lane runs it, or ''.
local function holder_of(digest)
  local v = call('GET', root .. 'u:' .. digest)
  if v then
    local id, ends, lane = match(v, '^(%w+);(%d+);(.*)$')
    return id, tonumber(ends), lane
  end
end

-- Writes which lane runs the job that has a unique name, '' for none.
local function hold_by(digest, id, lane)
  local holder, ends = holder_of(digest)
  if holder == id then
    call('SET', root .. 'u:' .. digest, id .. ';' .. int(ends) .. ';' .. lane)
  end
end

-- Which lane runs a job.
local function lane_of(id, l)
  if l.digest ~= '' then
    local holder, _, lane = holder_of(l.digest)
    if holder == id then
      return lane ~= '' and lane or nil
    end
  end
  for _, lane in ipairs(call('ZRANGE', LANES, 0, -1)) do
    if call('HEXISTS', root .. 'r:' .. lane, id) == 1 then
      return lane
    end
  end
end
