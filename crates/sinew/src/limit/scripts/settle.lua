-- Replaces what was charged by what it turned out to be: gives back, or takes what is missing.
-- KEYS[1] what is kept of the limit and its subject
-- ARGV[1] now in µs; '' for the server's own time
-- ARGV[2] bytes kind; doubles capacity, debt_max, a, b, c (as in check.lua),
--   charged, charged at, mark of the charge, actual
-- Returns 1
-- One script, because others charge between the look and the write.
-- Begins with parts.lua; its twin is algorithm.rs, as of check.lua.

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

local function text(us)
  return string.format('%.0f', math.ceil(us / 1000) + spare_ms)
end

if kind == 4 then
  -- Written anew: it is short, and seldom settled.
  local all = redis.pcall('LRANGE', KEYS[1], 0, -1)
  if all.err and string.sub(all.err, 1, 9) ~= 'WRONGTYPE' then
    return all
  end
  local is_ours = all.err == nil and #all > 1 and #all[#all] == 9 and string.byte(all[#all]) == 5
    and #all[#all - 1] == 17 and string.byte(all[#all - 1]) == 4
  if not is_ours and extra == 0 then
    return 1
  end
  local charges, sum = {}, 0
  if is_ours then
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
  if all.err or sum == 0 then
    redis.call('UNLINK', KEYS[1])
    all = {}
  end
  if sum > 0 then
    charges[#charges + 1] = struct.pack('>Bd', 5, sum)
    for from = 1, #charges, 500 do
      redis.call('RPUSH', KEYS[1], unpack(charges, from, math.min(from + 499, #charges)))
    end
    -- Last, so that the key is never missing: while its slot moves, it could not be written again.
    if #all > 0 then
      redis.call('LTRIM', KEYS[1], #all, -1)
    end
    redis.call('PEXPIRE', KEYS[1], text(a))
  end
  return 1
end

local found = redis.pcall('GET', KEYS[1])
if type(found) == 'table' and string.sub(found.err, 1, 9) ~= 'WRONGTYPE' then
  return found
end
local len = (kind == 1 and 57) or (kind == 2 and 33) or 41
local mine, other
if type(found) == 'string' and (#found == len or #found == 2 * len)
  and string.byte(found) == kind then
  local head = kind == 1 and struct.pack('>Bddd', 1, a, b, most) or struct.pack('>Bd', kind, a)
  mine, other = parts_of(found, len, head)
end
if not mine and extra == 0 then
  return 1
end

local state, lasts
if kind == 1 then
  local level, returned, began = 0, 0, now
  if mine or other then
    local _, unit, _, _, was, at, n, since = struct.unpack('>Bddddddd', mine or other)
    if not mine then
      was = unit ~= a and math.ceil(was / unit) * a or was
      was, n, since = math.min(was, most * a), 0, now
    end
    if at > now then
      since = now
    end
    was = was - math.max(now - at, 0) * b
    if was > 0 then
      level, returned, began = was, n, since
    end
  end
  if extra > 0 then
    level = level + math.min(extra, most) * a
    if level > most * a then
      -- What is cut off is not there to be given back.
      level, began = most * a, now
    end
  elseif began <= charged_at and charged_at <= now then
    -- Had the level been at 0 for a while without the charge, that time would have taken nothing off it.
    local busy = math.min(math.max(mark - returned, 0), most) * a
    local idle = math.max(math.max(now - charged_at, 0) * b - busy, 0)
    local given = math.min(math.max(back * a - idle, 0), level)
    level, returned = level - given, returned + math.ceil(given / a)
  end
  state = struct.pack('>Bddddddd', 1, a, b, most, level, now, returned, began)
  lasts = math.ceil(level / b)
  if other and struct.unpack('>d', other, 18) <= most then
    other = nil
  end
elseif kind == 2 then
  local start, used, at = now - now % a, 0, now
  if mine or other then
    local _, _, was, n, last = struct.unpack('>Bdddd', mine or other)
    at = math.min(last, now)
    if mine then
      used = was >= start and n or 0
    else
      used = last >= start and math.min(n, most) or 0
    end
  end
  -- A window that is over has nothing to give back.
  if charged_at >= start and charged_at < start + a then
    used = math.max(used - back, 0)
  end
  if extra > 0 then
    used, at = used + math.min(extra, math.max(most - used, 0)), now
  end
  state = struct.pack('>Bdddd', 2, a, start, used, at)
  lasts = used > 0 and start + a - now or 0
else
  local start, current, previous, at = now - now % a, 0, 0, now
  if mine or other then
    local _, _, was, n, m, last = struct.unpack('>Bddddd', mine or other)
    at = math.min(last, now)
    if not mine then
      current = (last >= start and n or 0) + (was > start and m or 0)
      previous = (last < start and last + a >= start and n or 0)
        + (was <= start and was + a > start and m or 0)
      current, previous = math.min(current, most), math.min(previous, most)
    elseif was >= start then
      current, previous = n, m
    elseif start - was <= a then
      previous = n
    end
  end
  if charged_at >= start and charged_at < start + a then
    current = math.max(current - back, 0)
  elseif charged_at >= start - a and charged_at < start then
    previous = math.max(previous - back, 0)
  end
  if extra > 0 then
    current, at = current + math.min(extra, math.max(most - current, 0)), now
  end
  state = struct.pack('>Bddddd', 3, a, start, current, previous, at)
  lasts = (current > 0 and start + 2 * a - now) or (previous > 0 and start + a - now) or 0
end

if other then
  local part, more = charged_too(kind, other, now, math.min(extra, most))
  if part then
    state, lasts = state .. part, math.max(lasts, more)
  end
end
if lasts > 0 then
  redis.call('SET', KEYS[1], state, 'PX', text(lasts))
else
  redis.call('UNLINK', KEYS[1])
end
return 1
