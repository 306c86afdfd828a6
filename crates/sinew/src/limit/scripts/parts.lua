-- Begins check.lua and settle.lua: what is kept of a limit and its subject is a part, and a second one
-- after it while another definition of the limit is in use beside the one that charged last. A part is
-- what its definition counts of all that is charged: byte kind; doubles
--   1 GCRA: unit, drain, most, level, at, returned, began
--   2 a fixed window: period, start, used, charged at
--   3 a sliding window: period, start, current, previous, charged at
-- Its twin is tally.rs.

-- The part whose definition is `head`, and another one: where there is none of this definition, that
-- which it is to take over from.
local function parts_of(found, len, head)
  local first, last = string.sub(found, 1, len), string.sub(found, -len)
  if string.sub(first, 1, #head) == head then
    return first, #found > len and last or nil
  elseif string.sub(last, 1, #head) == head then
    return last, first
  end
  return nil, last
end

-- Another definition's part once so much is charged, and µs until it is over; nothing where it is.
local function charged_too(kind, part, now, amount)
  if kind == 1 then
    local _, unit, drain, most, level, at, returned, began = struct.unpack('>Bddddddd', part)
    level = level - math.max(now - at, 0) * drain
    if level <= 0 then
      return nil
    end
    if at > now then
      began = now
    end
    level = level + amount * unit
    if level > most * unit then
      level, began = most * unit, now
    end
    part = struct.pack('>Bddddddd', 1, unit, drain, most, level, now, returned, began)
    return part, math.ceil(level / drain)
  elseif kind == 2 then
    local _, period, start, used, at = struct.unpack('>Bdddd', part)
    local begin = now - now % period
    if start < begin or used <= 0 then
      return nil
    end
    at = amount > 0 and now or math.min(at, now)
    used = math.min(used + amount, 2 ^ 52)
    return struct.pack('>Bdddd', 2, period, begin, used, at), begin + period - now
  end
  local _, period, start, current, previous, at = struct.unpack('>Bddddd', part)
  local begin = now - now % period
  if start < begin then
    current, previous = 0, begin - start <= period and current or 0
  end
  if current + previous <= 0 then
    return nil
  end
  local ticks = math.ceil(period / math.ceil(period / 1000000))
  at = amount > 0 and now or math.min(at, now)
  current = math.min(current + amount, math.floor(2 ^ 52 / ticks))
  part = struct.pack('>Bddddd', 3, period, begin, current, previous, at)
  return part, begin + (current > 0 and 2 or 1) * period - now
end

