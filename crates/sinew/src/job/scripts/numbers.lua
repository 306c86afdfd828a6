-- A partition in numbers, of the scripts that tell them. It goes behind parts.lua.

-- When the oldest was enqueued of those that are first in the lists, or 0.
local function oldest_ms()
  local lists, oldest = {SUS}, nil
  for prio = 0, 9 do
    lists[#lists + 1] = root .. 'w' .. prio
  end
  for _, list in ipairs(lists) do
    local id = call('LINDEX', list, 0)
    local key = id and match(id, '^@%d+:(.*)$')
    if key then
      id = call('ZRANGE', root .. 'g:' .. key, 0, 0)[1]
    end
    local v = id and call('HGET', shard(id), id)
    if v and #v > 7 then
      oldest = math.min(oldest or math.huge, (struct.unpack('>I6', v, 2)))
    end
  end
  return oldest or 0
end

-- {now, partitions, 1 paused, waiting, scheduled, running, dead, kept, owed, lanes, limit of all, of a key, of starts, in so
-- many ms, when the oldest was enqueued that waits, or 0, and how many there are in line of each priority, from 0}; 0
-- partitions: it was not declared
local function numbers()
  local m = call('HMGET', META, 'n', 'paused', 'global', 'per_key', 'rate', 'rate_ms')
  local scheduled = call('ZCARD', SCHED)
  local told = {
    now, tonumber(m[1] or 0), m[2] == '1' and 1 or 0, math.max(0, size - scheduled - running), scheduled, running,
    call('ZCARD', root .. 'dead'), call('ZCARD', KEPT), call('ZCARD', OUT), call('ZCARD', LANES),
    tonumber(m[3] or 0), tonumber(m[4] or 0), tonumber(m[5] or 0), tonumber(m[6] or 0), oldest_ms(),
  }
  for prio = 0, 9 do
    -- What was cancelled is in its list until it is come to: there are never more in line than wait.
    told[#told + 1] = math.min(call('LLEN', root .. 'w' .. prio), told[4])
  end
  return told
end
