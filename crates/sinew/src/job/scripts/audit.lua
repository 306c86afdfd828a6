-- Looks for what nobody would come to, and puts it right. So much at a time.
-- ARGV[1] it does nothing where one was made within so many ms
-- Returns {jobs that a lane had without a lease, numbers that were wrong, keys that would have waited for one of theirs to end}
-- One script, because what it counts is on its way all the time.

local KEYS_MAX, RUNNING_MAX, PAST_KEEP_MS = 256, 10000, 7 * 86400000
local audited = tonumber(call('HGET', META, 'audited') or 0)
if audited <= now and now - audited < tonumber(ARGV[1]) then
  return {0, 0, 0}
end
call('LLEN', WAKE)
call('LLEN', SUS)
local stranded, miscounted, forgotten = 0, 0, 0

-- A lane that has no lease cannot be renewed, and no one would look at it.
for _, lane in ipairs(call('HKEYS', root .. 'names')) do
  if not call('ZSCORE', LANES, lane) then
    stranded = stranded + end_lane(lane, take_back)
  end
end

local runs, of_keys = 0, {}
local has_keys = call('HLEN', ACT) > 0
for _, lane in ipairs(call('ZRANGE', LANES, 0, -1)) do
  -- One that is something else has none.
  local all = redis.pcall('HGETALL', root .. 'r:' .. lane)
  for i = 1, #all, 2 do
    local id, mark = all[i], all[i + 1]
    if #id == ID_LEN then
      runs = runs + 1
      local key = match(mark, '^!%d+%l*:(.*)$')
      if not key and has_keys and runs <= RUNNING_MAX and match(mark, '^%d+%l*b') then
        local v = call('HGET', shard(id), id)
        key = v and v ~= '' and lead(v).key
      end
      if key and key ~= '' then
        of_keys[key] = (of_keys[key] or 0) + 1
      end
    end
  end
end
if runs ~= running then
  running = runs
  miscounted = miscounted + 1
end
if has_keys and runs <= RUNNING_MAX then
  local all = call('HLEN', ACT) <= 4096 and call('HGETALL', ACT) or {}
  for i = 1, #all, 2 do
    local key, right = all[i], of_keys[all[i]] or 0
    if tonumber(all[i + 1]) ~= right and miscounted < KEYS_MAX then
      miscounted = miscounted + 1
      if right > 0 then
        call('HSET', ACT, key, right)
      else
        call('HDEL', ACT, key)
      end
      of_keys[key] = right
    end
  end
end
-- A key of which one runs, and that has some waiting and places free, has a token. Of very many, each audit looks at some.
local after, keys = call('HGET', META, 'audit_key') or '', {}
for key in pairs(of_keys) do
  if key > after then
    keys[#keys + 1] = key
  end
end
table.sort(keys)
for i = 1, math.min(#keys, KEYS_MAX) do
  local before = runnable
  offer(keys[i])
  forgotten = forgotten + runnable - before
end

forget_kept()
drop_old_dead(256)
for _ = 1, 256 do
  local turn = call('LINDEX', root .. 'past', 0)
  local at, count_of = match(turn or '', '^(%d+);(%d+);')
  if not at or now - tonumber(at) <= PAST_KEEP_MS then
    break
  end
  call('LPOP', root .. 'past')
  said[7] = int(math.max(0, tonumber(said[7] or 0) - tonumber(count_of)))
end
flush()
wake(runnable + suspects)
write_counts()
local set = {'audited', int(now), 'audit_key', #keys > KEYS_MAX and keys[KEYS_MAX] or ''}
if said[7] then
  set[5], set[6] = 'past', said[7]
end
write_meta(set)
return {stranded, miscounted, forgotten}
