-- Publishes events, all or none, if there is room.
-- KEYS[1] log  KEYS[2] meta  KEYS[3] groups  KEYS[4] delayed  KEYS[5] their bodies
-- ARGV[1] how many partitions the topic has, as the caller believes  ARGV[2] most that may be delayed
-- then for each event: key of its dedup id or '', window in ms, delay in ms, how many names and values, these
-- Returns {1, what became of each} published: entry id · '=' and what became of the first · '~' and when it is due
--   {0, partitions} it has another number · {2} not declared · {3, entries, most, group that holds most} full
--   {4} too many delayed
-- One script, because of two with one dedup id one is to be published, and a trim must know what is finished.

local META, GROUPS, LATER, BODIES = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local said = redis.call('HMGET', META, 'n', 'cap')
if not said[1] then
  return {2}
elseif said[1] ~= ARGV[1] then
  return {0, tonumber(said[1])}
end

local events, given, counted, fresh, delayed, i = {}, {}, {}, 0, 0, 3
while i <= #ARGV do
  local count = tonumber(ARGV[i + 3])
  local event = {dup = ARGV[i], dup_ms = ARGV[i + 1], delay = tonumber(ARGV[i + 2]), fields = {}}
  for j = 1, count do
    event.fields[j] = ARGV[i + 3 + j]
  end
  -- Looked at before there is room for them: what is there already needs none.
  if event.dup ~= '' and given[event.dup] == nil then
    given[event.dup] = redis.call('GET', event.dup)
  end
  if event.dup == '' or not given[event.dup] and not counted[event.dup] then
    counted[event.dup] = true
    fresh = fresh + 1
    delayed = delayed + (event.delay > 0 and 1 or 0)
  end
  events[#events + 1] = event
  i = i + 4 + count
end

local is_room, len, holding = true, 0, ''
if fresh > 0 then
  is_room, len, holding = has_room(fresh, tonumber(said[2]), GROUPS, LATER)
end
if not is_room then
  return {3, len, tonumber(said[2]), holding}
end
if delayed > 0 and redis.call('ZCARD', LATER) + delayed > tonumber(ARGV[2]) then
  return {4}
end

local replies = {1}
for _, event in ipairs(events) do
  local was, reply = event.dup ~= '' and given[event.dup], nil
  if was then
    reply = '=' .. was
  else
    if event.delay > 0 then
      local due = int(now + event.delay)
      -- As long as each other, so that those of one moment stay in order.
      local number = string.format('%016.0f', redis.call('HINCRBY', META, 'later', 1))
      reply = '~' .. due
      redis.call('ZADD', LATER, due, number)
      redis.call('HSET', BODIES, number, cmsgpack.pack(event.fields))
    else
      reply = redis.call('XADD', LOG, '*', unpack(event.fields))
    end
    if event.dup ~= '' then
      redis.call('SET', event.dup, reply, 'PX', event.dup_ms)
      given[event.dup] = reply
    end
  end
  replies[#replies + 1] = reply
end
return replies
