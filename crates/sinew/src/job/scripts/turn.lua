-- A lane tells of the ends of jobs, and takes others.
-- ARGV[1] lane  ARGV[2] number of the request, 0 is remembered by no one  ARGV[3] how many it wants
-- ARGV[4] '1' it may be given a suspect  ARGV[5] how many ends  ARGV[6] how many counters
-- then for each end: id, fence, how, and two more: 'd' and for how long it is kept, line, result · 'l' a failure, or 's'
-- none, and the delay, note, '' · 'x' and the fingerprint, sample, note · 'b', '', ''; those that are done with one fence, and
-- not kept, may go as one, with their ids one behind the other, and their lines; then for each counter: name, by how much
-- Returns {1, now, fence or 0, next due or 0, 1 there is more + 2 paused + 4 something is owed + 8 there are suspects, how
-- many are lost, how many are cancelled, the lost, the cancelled, the ids of the jobs one behind the other, then their
-- records} · {0} the lane has fallen. Those that are cancelled are to stop, or were told of.
-- One script, because a job is at each moment in one place, and a call for each would cost ten times as much. The request
-- is kept with what it took: sent again, it answers the same, and nothing is stranded for a reply that was lost. A script
-- that fails is not undone. So what is looked at first is only what each turn has to do with; a key of one job, of one key
-- or of what is counted may be something else, and each of these is left out for itself, so that no job is in no place.

local FIRST, STRIDE, ROUNDS_MAX, SLOTS = 7, 5, 8, 20
-- As model/bounds.rs has them.
local RETAIN_AWAITED_MS, PAST_LEN_MAX, ALIVE_EVERY_MS, LEASE_GRACE_MS = 60000, 10000, 1000, 2000
local PROMOTE_MIN, PROMOTE_PER_MS = 32, 16
-- How long what it is given may be before the last of it, in bytes: leases are renewed over the same connection. And of how
-- many jobs it reads at a time, before it knows how long they are.
local ANSWER_LEN_MAX, READ_MAX = 1048576, 16
local PLAIN_DONE, DONE, BACK, BURIED, FAILED = 'd0', 100, 98, 120, 108

local loaded
local function rest()
  loaded = loaded or load_rest()
  return loaded
end

local lane, request, want = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local n_ends, n_counts = tonumber(ARGV[5]), tonumber(ARGV[6])
local LANE = root .. 'r:' .. lane
if not call('ZSCORE', LANES, lane) then
  return {0}
end

local asked, ends = {LAST, STOP}, {}
for i = 1, n_ends do
  ends[i] = ids_in(ARGV[FIRST + (i - 1) * STRIDE])
  for j = 1, #ends[i] do
    asked[#asked + 1] = ends[i][j]
  end
end
local has = call('HMGET', LANE, unpack(asked))
local last, stop = has[1], has[2] and ids_in(has[2]) or {}
-- All types are looked at before anything is written: a key that is something else changes nothing.
local is_plain = call('EXISTS', WAIT, SUS, OUT, KEPT) == 0
local n_suspects = 0
has_waiters = false
if not is_plain then
  has_waiters = call('ZCARD', WAIT) > 0
  n_suspects = call('LLEN', SUS)
  call('ZCARD', KEPT)
end
local tokens, due_ms = call('LLEN', WAKE), next_due()
local was_due = due_ms > 0 and due_ms or math.huge
local is_paused = said[9] == '1'

-- What a lane is answered, but for jobs, and for what is only known in the end.
local function begin_answer(lost, stops)
  local out = {1, now, 0, 0, 0, #lost, #stops}
  for _, ids in ipairs({lost, stops}) do
    for i = 1, #ids do
      out[#out + 1] = ids[i]
    end
  end
  return out
end

local function end_answer(out, fence, next_ms, is_more)
  local owes = (has_owed or not is_plain) and is_owing()
  out[3], out[4] = tonumber(fence), math.min(next_ms, 2 ^ 53)
  out[5] = (is_more and 1 or 0) + (is_paused and 2 or 0) + (owes and 4 or 0) + (n_suspects > 0 and 8 or 0)
  return out
end

local before = request > 0 and last and tonumber(match(last, '^%d+')) or 0
if request > 0 and request < before then
  return {0}
elseif request > 0 and request == before then
  -- The same answer again, with the jobs as they are now. Those that were cancelled meanwhile never began, and their lane
  -- has not heard of them.
  local fence, took, lost, passed = match(last, '^%d+ (%d+) (%w*) (%w*) (%w*)$')
  local ids, there, dropped, stopped = ids_in(took), {}, {}, {}
  local marks = #ids > 0 and call('HMGET', LANE, unpack(ids)) or {}
  for i, id in ipairs(ids) do
    local was_cancelled, digits, of_key = match(marks[i] or '', '^(!?)(%d+)%l*:?(.*)$')
    if digits == fence and was_cancelled == '!' then
      call('HDEL', LANE, id)
      call('HDEL', shard(id), id)
      dropped[id] = true
      running = running - 1
      pcall(free_place, of_key)
    elseif digits == fence then
      there[#there + 1] = id
    end
  end
  for _, id in ipairs(stop) do
    if not dropped[id] then
      stopped[#stopped + 1] = id
    end
  end
  if #stopped < #stop then
    call('HSET', LANE, STOP, table.concat(stopped))
  end
  flush()
  wake(runnable)
  write_meta()
  for _, id in ipairs(ids_in(passed)) do
    stopped[#stopped + 1] = id
  end
  local out, ids = begin_answer(ids_in(lost), stopped), {}
  out[#out + 1] = ''
  local ids_at = #out
  for _, id in ipairs(there) do
    local v = call('HGET', shard(id), id)
    if v and v ~= '' then
      ids[#ids + 1] = id
      out[#out + 1] = v
    end
  end
  out[ids_at] = table.concat(ids)
  return end_answer(out, fence, due_ms, true)
end

-- What is written of many at once: the lane's fields that go, those of shards, and the lines of what is done.
local function lines_in(text)
  local lines = {}
  for line in string.gmatch(text, '[^\n]*\n') do
    lines[#lines + 1] = line
  end
  return lines
end

local accepted, lost, passed, fields, lines, settled = {}, {}, {}, {}, {}, {}
local done = 0

local function drop(id, what)
  local of = sub(id, 8, 9)
  local list = fields[of]
  if not list then
    list = {}
    fields[of] = list
  end
  list[#list + 1] = id .. what
end

local function end_done(id, l, has_extras, how, line, result)
  local of = rest()
  local retain, awaited = tonumber(sub(how, 2)), of.is_awaited(id)
  if awaited then
    retain = math.max(retain, RETAIN_AWAITED_MS)
  end
  size = size - 1
  done = done + 1
  lines[#lines + 1] = line
  if retain > 0 then
    call('HSET', shard(id), id .. 'f', string.format('%013d;d;%d;', now, #line) .. line .. result)
    call('ZADD', KEPT, int(now + retain), id)
  else
    drop(id, '')
    if has_extras then
      drop(id, 'p')
      drop(id, 'l')
    end
  end
  if awaited then
    of.tell_end(id, 'd', result)
  end
  if l then
    local follows = call('HGET', shard(id), id .. '+')
    if follows then
      of.owe(id, follows)
      call('HDEL', shard(id), id .. '+')
    end
    pcall(of.release, id, l.digest)
    pcall(free_place, l.key)
    pcall(of.change_batch, l.batch, -1)
  end
end

-- What becomes of one that is the lane's, by what its mark says besides the fence.
local function end_one(id, mark, how, text, result)
  local kind = byte(how)
  local v, l
  if kind ~= DONE or string.find(mark, 'b', 1, true) then
    v = redis.pcall('HGET', shard(id), id)
    if type(v) ~= 'string' or v == '' then
      -- Someone has removed it by hand.
      size = size - 1
      done = done + (kind == DONE and 1 or 0)
      return
    end
    l = lead(v)
  end
  if kind == DONE then
    end_done(id, l, string.find(mark, 'x', 1, true), how, text, result)
  elseif kind == BACK then
    rest().give_back(id, v)
  elseif kind == BURIED then
    pcall(free_place, l.key)
    rest().bury(id, v, l, l.first, result, sub(how, 2), text)
  else
    local delay = tonumber(sub(how, 2))
    call('HSET', shard(id), id, rewritten(v, l, l.first, text))
    if l.digest ~= '' then
      pcall(hold_by, l.digest, id, '')
    end
    pcall(free_place, l.key)
    if delay > 0 then
      call('ZADD', SCHED, int(now + delay), due_member(id, l))
      due_ms = due_ms > 0 and math.min(due_ms, now + delay) or now + delay
    else
      ready(id, l)
    end
    count(kind == FAILED and 'failed' or 'snoozed', 1)
  end
end

-- An end that is not that of nearly all: done, nothing to be kept, and nobody who waits.
local function settle(id, fence, mark, how, text, result)
  local was_cancelled, digits, flags, of_key = match(mark or '', '^(!?)(%d+)(%l*):?(.*)$')
  if digits ~= fence then
    lost[#lost + 1] = id
    return
  end
  accepted[#accepted + 1] = id
  settled[id] = true
  if was_cancelled == '!' then
    passed[#passed + 1] = id
    drop(id, '')
    pcall(free_place, of_key)
  elseif not pcall(end_one, id, flags, how, text, result) and byte(how) ~= DONE then
    rest().put_off(id)
  end
end

local n_marks = 2
for i = 1, n_ends do
  local at, ids = FIRST + (i - 1) * STRIDE, ends[i]
  local fence, how, texts = ARGV[at + 1], ARGV[at + 2], nil
  for j = 1, #ids do
    local id, mark = ids[j], has[n_marks + j]
    if settled[id] then
      mark = nil
    end
    if mark == fence and how == PLAIN_DONE and not has_waiters then
      accepted[#accepted + 1] = id
      settled[id] = true
      drop(id, '')
      size = size - 1
      done = done + 1
      if texts then
        lines[#lines + 1] = texts[j]
      end
    else
      if not texts then
        texts = #ids == 1 and {ARGV[at + 3]} or lines_in(ARGV[at + 3])
        for k = 1, j - 1 do
          lines[#lines + 1] = texts[k]
        end
      end
      settle(id, fence, mark, how, texts[j] or '', ARGV[at + 4])
    end
  end
  if not texts then
    lines[#lines + 1] = ARGV[at + 3]
  end
  n_marks = n_marks + #ids
end
if #accepted > 0 then
  call('HDEL', LANE, unpack(accepted))
  running = running - #accepted
end
if not pcall(by_shard, 'HDEL', fields) then
  rest().drop_fields(fields)
end
local stops = {}
for _, id in ipairs(stop) do
  if not settled[id] then
    stops[#stops + 1] = id
  end
end
if #stops < #stop then
  if #stops > 0 then
    call('HSET', LANE, STOP, table.concat(stops))
  else
    call('HDEL', LANE, STOP)
  end
end
-- Who told of one that was cancelled meanwhile hears of that.
for _, id in ipairs(passed) do
  stops[#stops + 1] = id
end

local set, alive = {}, tonumber(said[8] or 0)
if now - alive > ALIVE_EVERY_MS or alive > now then
  set = rest().keep_alive(lane)
end
if request > 0 then
  if #call('ZRANGE', LANES, '-inf', '(' .. int(now - LEASE_GRACE_MS), 'BYSCORE', 'LIMIT', 0, 1) > 0 then
    rest().reclaim(lane)
  end
  n_suspects = n_suspects + suspects
elseif call('HLEN', LANE) - call('HEXISTS', LANE, LAST) - call('HEXISTS', LANE, STOP) <= 0 then
  call('ZREM', LANES, lane)
  call('HDEL', root .. 'names', lane)
  call('DEL', LANE)
end
if not is_plain then
  rest().forget_kept()
end

-- How many may begin now: by the queue's limit, and by its rate. What has begun is counted by slots, of which twenty are
-- the time that the rate is of: whichever time as long is taken, it has no more in it than twenty-one.
local global, rate = tonumber(said[10] or 0), tonumber(said[11] or 0)
local rate_room, slot_ms, slot, starts, oldest = math.huge, nil, nil, {}, nil
if rate > 0 then
  slot_ms = tonumber(said[12] or 1000) / SLOTS
  slot = floor(now / slot_ms)
  rate_room = rate
  for of, n in string.gmatch(said[13] or '', '(%d+):(%d+)') do
    of, n = tonumber(of), tonumber(n)
    if of > slot - SLOTS - 1 and of <= slot then
      starts[of] = n
      rate_room = rate_room - n
      oldest = math.min(oldest or of, of)
    end
  end
end

local function room_now()
  if is_paused then
    return 0
  end
  return math.min(global > 0 and global - running or math.huge, rate_room)
end

-- What it takes.
local out = begin_answer(lost, stops)
local given, took, n_took, ids_at, took_len = {}, {}, 0, #out + 1, 0
out[ids_at] = ''
local fence = int(math.max(tonumber(said[6] or 0) + 1, now_us))

local function take(id, v)
  local first, mark = byte(v), fence
  if first >= 64 then
    if first >= 128 then
      local l = lead(v)
      mark = mark .. 'b'
      if l.key ~= '' then
        redis.pcall('HINCRBY', ACT, l.key, 1)
      end
      if l.digest ~= '' then
        pcall(hold_by, l.digest, id, lane)
      end
    end
    if first % 128 >= 64 then
      mark = mark .. 'x'
    end
  end
  n_took = n_took + 1
  took[n_took] = id
  out[ids_at + n_took] = v
  given[2 * n_took - 1], given[2 * n_took] = id, mark
  took_len = took_len + #v
  want = took_len < ANSWER_LEN_MAX and want - 1 or 0
end

-- The next of a key, which a token is met of.
local function take_next(token)
  local number, key = match(token, '^@(%d+):(.*)$')
  local counts_one = key and call('HGET', TOK, key)
  if not counts_one or match(counts_one, '^%d+') ~= number then
    return
  end
  local has_room = per_key == 0 or tonumber(call('HGET', ACT, key) or 0) < per_key
  local id = has_room and call('ZRANGE', root .. 'g:' .. key, 0, 0)[1]
  -- From here on nothing can be something else that was not looked at.
  call('HDEL', TOK, key)
  -- Where all its places are taken, it is offered again when one is free.
  if id then
    call('ZREM', root .. 'g:' .. key, id)
    keyed = keyed - 1
    local v = redis.pcall('HGET', shard(id), id)
    if type(v) == 'string' and v ~= '' then
      take(id, v)
    end
    offer(key)
  end
end

-- Takes those of some ids of one shard that are there, as long as there is room. How many it has come by.
local function take_those(ids)
  -- Of what is no shard there is none.
  local records = redis.pcall('HMGET', shard(ids[1]), unpack(ids))
  for i = 1, #ids do
    if want <= 0 then
      return i - 1
    end
    local v = records[i]
    if v == '' then
      call('HDEL', shard(ids[i]), ids[i])
    elseif v then
      take(ids[i], v)
    end
  end
  return #ids
end

-- Takes what was popped from a list. What there is no room for is its first again, and after that tokens of keys that
-- could not be looked at.
local function take_all(list, members)
  local i, n, left = 1, #members, {}
  while i <= n and want > 0 do
    if byte(members[i]) == 64 then
      if not pcall(take_next, members[i]) then
        left[#left + 1] = members[i]
      end
      i = i + 1
    else
      local of, ids, at = sub(members[i], 8, 9), {}, i
      repeat
        ids[#ids + 1] = members[at]
        at = at + 1
      until at > n or #ids == READ_MAX or sub(members[at], 8, 9) ~= of or byte(members[at]) == 64
      i = i + take_those(ids)
    end
  end
  for at = n, i, -1 do
    left[#left + 1] = members[at]
  end
  if #left > 0 then
    call('LPUSH', list, unpack(left))
  end
end

-- The first of some lists that may be there, or the one after them. Mostly all jobs are of the usual priority: the others
-- are not asked one by one.
local function first_of(high, low)
  local names = {}
  for prio = low, high do
    names[#names + 1] = root .. 'w' .. prio
  end
  return call('EXISTS', unpack(names)) > 0 and high or low - 1
end

local is_dry, last_list = false, nil

local function take_from_lists()
  local rounds, prio = 0, first_of(9, 6)
  is_dry = true
  while prio >= 0 and is_dry do
    local wanted = want
    if wanted <= 0 or rounds >= ROUNDS_MAX then
      is_dry = false
    else
      last_list = root .. 'w' .. prio
      local members = redis.pcall('LPOP', last_list, int(wanted))
      local is_over = true
      -- What is no list is passed over: all else goes on.
      if members and not members.err then
        rounds = rounds + 1
        take_all(last_list, members)
        is_over = want > 0 and #members < wanted and not pending[prio]
        flush()
      end
      if is_over then
        prio = prio == 5 and first_of(4, 0) or prio - 1
      end
    end
  end
end

local function is_due()
  return due_ms > 0 and due_ms <= now
end

local function promote_some(count_max)
  rest().promote(count_max)
  due_ms = next_due()
  flush()
end

want = request > 0 and math.min(want, room_now()) or 0
flush()
if want > 0 and is_due() then
  -- Those that it takes, and some more with each millisecond: an urgent one may be due behind all of them.
  local since = now - tonumber(said[16] or 0)
  local more = since >= 0 and math.min(since * PROMOTE_PER_MS, PROMOTE_MAX) or PROMOTE_MAX
  promote_some(math.min(math.max(want, PROMOTE_MIN) + more, PROMOTE_MAX))
  set[#set + 1], set[#set + 2] = 'moved', int(now)
end
if want > 0 then
  for _ = 1, ARGV[4] == '1' and math.min(n_suspects, ROUNDS_MAX) or 0 do
    if n_took == 0 then
      n_suspects = n_suspects - 1
      take_all(SUS, {call('LPOP', SUS)})
    end
  end
  take_from_lists()
end
if request > 0 and n_took == 0 and is_due() then
  -- None of those can be run now, and one behind them may.
  promote_some(PROMOTE_MAX)
  if want > 0 then
    take_from_lists()
  end
end
flush()

if n_took > 0 then
  running = running + n_took
  set[#set + 1], set[#set + 2] = 'fence', fence
  if rate > 0 then
    starts[slot] = (starts[slot] or 0) + n_took
    rate_room = rate_room - n_took
    oldest = math.min(oldest or slot, slot)
    local text = {}
    for of, n in pairs(starts) do
      text[#text + 1] = int(of) .. ':' .. int(n)
    end
    set[#set + 1], set[#set + 2] = 'rated', table.concat(text, ' ')
  end
else
  fence = '0'
end
if request > 0 then
  given[#given + 1] = LAST
  out[ids_at] = table.concat(took)
  local ids = out[ids_at] .. ' ' .. table.concat(lost) .. ' ' .. table.concat(passed)
  given[#given + 1] = ARGV[2] .. ' ' .. fence .. ' ' .. ids
  call('HSET', LANE, unpack(given))
end

local function note_past()
  local past = tonumber(said[7] or 0) + done
  call('RPUSH', root .. 'past', int(now) .. ';' .. done .. ';' .. table.concat(lines))
  local popped = 0
  while past > PAST_LEN_MAX and popped < 256 do
    local oldest_turn = call('LPOP', root .. 'past')
    past = oldest_turn and past - tonumber(match(oldest_turn, '^%d+;(%d+);') or 1) or 0
    popped = popped + 1
  end
  set[#set + 1], set[#set + 2] = 'past', int(past)
end

if done > 0 then
  count('done', done)
  pcall(note_past)
end
if #lost > 0 then
  count('lost', #lost)
end
-- What one tells by hand counts where its end does.
if request > 0 or #lost + #passed == 0 then
  local at = FIRST + n_ends * STRIDE
  for i = at, at + 2 * n_counts - 1, 2 do
    count(ARGV[i], tonumber(ARGV[i + 1]))
  end
end
pcall(write_counts)
write_meta(set)

-- Mostly what is left is in the list that it took from last.
local is_listed = not is_dry and (last_list and call('EXISTS', last_list) == 1
  or call('EXISTS', root .. 'w0', root .. 'w1', root .. 'w2', root .. 'w3', root .. 'w4', root .. 'w5', root .. 'w6',
    root .. 'w7', root .. 'w8', root .. 'w9') > 0)
local is_left = is_listed or is_due()
local is_more = is_left and room_now() > 0
if is_more and tokens == 0 then
  -- Who waited would have taken one that lies there.
  call('RPUSH', WAKE, '')
elseif not is_left and tokens > 0 and n_suspects == 0 then
  -- Of suspects someone else may have to hear: this process may have been given none.
  call('DEL', WAKE)
end
-- Who has nothing to do has to hear of an earlier time.
wake(suspects + (due_ms > 0 and due_ms < was_due and 1 or 0))
if (is_left or n_suspects > 0) and rate_room <= 0 and oldest then
  local free_ms = math.ceil((oldest + SLOTS + 1) * slot_ms)
  due_ms = due_ms > 0 and math.min(due_ms, free_ms) or free_ms
end
return end_answer(out, fence, due_ms, is_more)
