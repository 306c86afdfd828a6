-- Replaces what was charged by what it turned out to be: gives back, or takes what is missing.
-- KEYS[1] what is kept of the limit and its subject
-- ARGV[1] now in µs; '' for the server's own time
-- ARGV[2] bytes kind; doubles capacity, debt_max, a, b, c (as in check.lua),
--   charged, charged at, mark of the charge, actual
-- Returns 1
-- One script, because others charge between the look and the write.
-- Its twin is algorithm.rs, as of check.lua.

local now, spare_ms
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now, spare_ms = time[1] * 1000000 + time[2], 0
else
  now, spare_ms = tonumber(ARGV[1]), 60000
end
local kind, capacity, debt, a, b, c, charged, charged_at, mark, actual =
  struct.unpack('>Bddddddddd', ARGV[2])
local most = capacity + debt
local extra, back = math.max(actual - charged, 0), math.max(charged - actual, 0)
local found = kind ~= 4 and redis.pcall('GET', KEYS[1])
if type(found) == 'table' and string.sub(found.err, 1, 9) ~= 'WRONGTYPE' then
  return found
end

local function store(state, reset)
  redis.call('SET', KEYS[1], state, 'PX', string.format('%.0f', math.ceil(reset / 1000) + spare_ms))
end

if kind == 1 then
  local level, returned, began = 0, 0, now
  if type(found) == 'string' and #found == 41 then
    local tag, unit, was, at, n, since = struct.unpack('>Bddddd', found)
    if tag == 1 and unit >= 1 and was >= 0 and at >= 0 then
      was = unit ~= a and math.min(math.ceil(was / unit), most) * a or math.min(was, most * a)
      was = was - math.max(now - at, 0) * b
      if was > 0 then
        level, returned, began = was, n, since
      end
    end
  end
  if extra > 0 then
    level = math.min(level + math.min(extra, most) * a, most * a)
  elseif began <= charged_at then
    -- Had the level been at 0 for a while without the charge, that time would have taken nothing off it.
    local busy = math.min(math.max(mark - returned, 0), most) * a
    local idle = math.max(math.max(now - charged_at, 0) * b - busy, 0)
    local given = math.min(math.max(back * a - idle, 0), level)
    level, returned = level - given, returned + math.ceil(given / a)
  end
  if level > 0 then
    store(struct.pack('>Bddddd', 1, a, level, now, returned, began), math.ceil(level / b))
  else
    redis.call('UNLINK', KEYS[1])
  end
elseif kind == 2 then
  local start, used = now - now % a, 0
  if type(found) == 'string' and #found == 17 then
    local tag, was, n = struct.unpack('>Bdd', found)
    if tag == 2 and was >= start and n >= 0 then
      used = math.min(n, most)
    end
  end
  -- A window that is over has nothing to give back.
  if charged_at >= start and charged_at < start + a then
    used = math.max(used - back, 0)
  end
  used = math.min(used + extra, most)
  if used > 0 then
    store(struct.pack('>Bdd', 2, start, used), start + a - now)
  else
    redis.call('UNLINK', KEYS[1])
  end
elseif kind == 3 then
  local start, current, previous = now - now % a, 0, 0
  if type(found) == 'string' and #found == 25 then
    local tag, was, n, m = struct.unpack('>Bddd', found)
    if tag == 3 and n >= 0 and m >= 0 then
      if was >= start then
        current, previous = math.min(n, most), math.min(m, most)
      elseif start - was <= a then
        previous = math.min(n, most)
      end
    end
  end
  if charged_at >= start and charged_at < start + a then
    current = math.max(current - back, 0)
  elseif charged_at >= start - a and charged_at < start then
    previous = math.max(previous - back, 0)
  end
  current = math.min(current + extra, most)
  if current + previous > 0 then
    store(struct.pack('>Bddd', 3, start, current, previous), start + 2 * a - now)
  else
    redis.call('UNLINK', KEYS[1])
  end
else
  -- Written anew: it is short, and seldom settled.
  local all = redis.pcall('LRANGE', KEYS[1], 0, -1)
  if all.err and string.sub(all.err, 1, 9) ~= 'WRONGTYPE' then
    return all
  end
  local charges, sum = {}, 0
  if all.err == nil and #all > 1 and #all[#all] == 9 and string.byte(all[#all]) == 5
    and #all[#all - 1] == 17 and string.byte(all[#all - 1]) == 4 then
    local _, last = struct.unpack('>Bd', all[#all - 1])
    local shift = math.max(last - now, 0)
    for place = 1, #all - 1 do
      local _, at, n = struct.unpack('>Bdd', all[place])
      at = math.max(at - shift, 0)
      if at + a > now then
        if at == charged_at then
          local given = math.min(n, back)
          n, back = n - given, back - given
        end
        if n > 0 then
          charges[#charges + 1] = struct.pack('>Bdd', 4, at, n)
          sum = sum + n
        end
      end
    end
  end
  extra = math.min(extra, math.max(most - sum, 0))
  if extra > 0 then
    charges[#charges + 1] = struct.pack('>Bdd', 4, now, extra)
    sum = sum + extra
  end
  redis.call('UNLINK', KEYS[1])
  if sum > 0 then
    charges[#charges + 1] = struct.pack('>Bd', 5, sum)
    for from = 1, #charges, 500 do
      redis.call('RPUSH', KEYS[1], unpack(charges, from, math.min(from + 499, #charges)))
    end
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(a / 1000) + spare_ms))
  end
end
return 1
