-- What whoever comes by does for all: of the scripts of lanes. It goes behind ends.lua.

-- As model/bounds.rs has them.
local LEASE_GRACE_MS, STORE_AWAY_MS, ALIVE_EVERY_MS, AWAY_LEASE_MS = 2000, 8000, 1000, 30000
local KEPT_LEN_MAX, FORGET_MAX = 100000, 256

-- Where no lane has reached the store for long, none is to suffer for it: each but the caller's, if that has its lease yet,
-- has as long again to say that it lives. Once only, which half a millisecond at the end of its lease says until it does: where a queue is asked
-- seldom each call comes after such a silence, and what a dead lane had would never come back.
-- Returns what `meta` is to say of it, if that is anything new.
local function keep_alive(own)
  local alive = tonumber(said[8] or now)
  if now - alive > STORE_AWAY_MS then
    local ends, spared = int(now + math.min(now - alive, AWAY_LEASE_MS)), {}
    local lanes = call('ZRANGE', LANES, '-inf', '(' .. ends, 'BYSCORE', 'WITHSCORES')
    for i = 1, #lanes, 2 do
      local lease_ends = tonumber(lanes[i + 1])
      if (lanes[i] ~= own or lease_ends < now) and lease_ends % 1 == 0 then
        spared[#spared + 1] = ends .. '.5'
        spared[#spared + 1] = lanes[i]
      end
    end
    for i = 1, #spared, 400 do
      call('ZADD', LANES, 'XX', unpack(spared, i, math.min(i + 399, #spared)))
    end
  end
  if not said[8] or now - alive > ALIVE_EVERY_MS or alive > now then
    return {'alive', int(now)}
  end
  return {}
end

-- A job that is in no lane any more, and was due, could not be put where it belongs: a key there is something else. It is
-- due later, unless it has died, or is in its key's line at least.
local function put_off(id)
  local v, died = redis.pcall('HGET', shard(id), id), redis.pcall('ZSCORE', DEAD, id)
  if type(v) == 'string' and v ~= '' and type(died) ~= 'string' then
    local l = lead(v)
    if l.key == '' or type(redis.pcall('ZSCORE', root .. 'g:' .. l.key, id)) ~= 'string' then
      call('ZADD', SCHED, int(now + PUT_OFF_MS), due_member(id, l))
    end
  end
end

-- Has one wait that is due and has a key.
local function promote_keyed(id)
  local v = call('HGET', shard(id), id)
  if v and v ~= '' then
    ready(id, lead(v))
  end
end

-- Has those wait that are due, as many as it is told at most.
local function promote(count_max)
  local due = call('ZRANGE', SCHED, '-inf', int(now), 'BYSCORE', 'LIMIT', 0, int(count_max))
  if #due == 0 then
    return
  end
  -- They are the first. By their members each would be looked for among all.
  call('ZREMRANGEBYRANK', SCHED, 0, #due - 1)
  for _, member in ipairs(due) do
    local mark, id = byte(member), sub(member, 2)
    if mark < 97 then
      push(mark - 48, id)
    elseif not pcall(promote_keyed, id) then
      put_off(id)
    end
  end
end

-- Removes fields of shards, of which one may be something else.
local function drop_fields(fields)
  for name, of in pairs(fields) do
    pcall(by_shard, 'HDEL', {[name] = of})
  end
end

-- What a kind is called, of a record's body.
local function kind_of(v, l)
  local a, b, c, d = byte(v, l.ends + 1, l.ends + 4)
  if byte(v, l.ends) ~= 1 or not d then
    return ''
  end
  return sub(v, l.ends + 5, l.ends + 4 + ((a * 256 + b) * 256 + c) * 256 + d)
end

-- A job's process has ended, or has not been heard of for too long. It may be the job's fault.
local function take_back(id, v)
  local l = lead(v)
  free_place(l.key)
  local crashes = math.min(l.first % 64 + 1, 63)
  local first = l.first - l.first % 64 + crashes
  count('crashed', 1)
  if crashes >= CRASHES_MAX then
    local kind = kind_of(v, l)
    local words = crashes .. ' deliveries ended with their process'
    bury(id, v, l, first, note_of(v, l), 'crashed-' .. kind, kind .. '\0' .. words)
    return
  end
  call('HSET', shard(id), id, string.char(first) .. sub(v, 2))
  if l.digest ~= '' then
    hold_by(l.digest, id, '')
  end
  if l.key == '' then
    call('LPUSH', SUS, id)
    suspects = suspects + 1
  else
    ready_first(id, l)
  end
end

-- A job waits again as if it had not been taken: apart, if it did before.
local function give_back(id, v)
  local l = lead(v)
  if l.digest ~= '' then
    pcall(hold_by, l.digest, id, '')
  end
  pcall(free_place, l.key)
  if l.first % 64 > 0 and l.key == '' then
    call('LPUSH', SUS, id)
    suspects = suspects + 1
  else
    ready_first(id, l)
  end
end

-- A job is its lane's no more, and something is done with it.
local function let_go(id, mark, with)
  local was_cancelled, of_key = match(mark, '^(!)%d+%l*:?(.*)$')
  if was_cancelled then
    call('HDEL', shard(id), id)
    free_place(of_key)
    return
  end
  local v = call('HGET', shard(id), id)
  if v and v ~= '' then
    with(id, v)
  else
    size = size - 1
  end
end

-- Ends a lane, and does something with each job that it has, the newest first: what is put before others last is first.
local function end_lane(lane, with)
  local key = root .. 'r:' .. lane
  -- One that is something else has none.
  local all, ids, marks = redis.pcall('HGETALL', key), {}, {}
  for i = 1, #all, 2 do
    if #all[i] == ID_LEN then
      ids[#ids + 1] = all[i]
      marks[all[i]] = all[i + 1]
    end
  end
  table.sort(ids, function(a, b)
    return a > b
  end)
  call('ZREM', LANES, lane)
  call('HDEL', root .. 'names', lane)
  if not all.err then
    call('DEL', key)
  end
  for _, id in ipairs(ids) do
    running = running - 1
    if not pcall(let_go, id, marks[id], with) then
      put_off(id)
    end
  end
  return #ids
end

-- Takes back what the first lane has whose lease is over for long enough. Never from whoever calls.
local function reclaim(own)
  local over = call('ZRANGE', LANES, '-inf', '(' .. int(now - LEASE_GRACE_MS), 'BYSCORE', 'LIMIT', 0, 2)
  local lane = over[1] ~= own and over[1] or over[2]
  if lane then
    end_lane(lane, take_back)
  end
end

-- Forgets done jobs whose time is over, or that are too many.
local function forget_kept()
  local old = call('ZRANGE', KEPT, '-inf', int(now), 'BYSCORE', 'LIMIT', 0, FORGET_MAX)
  local over = call('ZCARD', KEPT) - KEPT_LEN_MAX
  if over > #old then
    old = call('ZRANGE', KEPT, 0, math.min(over, FORGET_MAX) - 1)
  end
  if #old > 0 then
    local fields = {}
    for _, id in ipairs(old) do
      local of = sub(id, 8, 9)
      fields[of] = fields[of] or {}
      for _, what in ipairs({'', 'f', 'p', 'l'}) do
        fields[of][#fields[of] + 1] = id .. what
      end
    end
    drop_fields(fields)
    call('ZREM', KEPT, unpack(old))
  end
end
