-- Decides on requests, one after the other: on each by all of its limits together, and charges it to
-- all of them or to none.
-- KEYS[i] what is kept of limit i and its subject
-- ARGV[1] the limits, one after the other: bytes kind, shadow;
--   doubles cost, want, capacity, debt_max, a, b, c, where
--   kind 1 is GCRA: a unit, b drain · 2 a fixed window: a period
--   kind 3 is a sliding window: a period, b tick, c ticks · 4 a sliding log: a period
-- ARGV[2] how many limits each request is about, a byte each
-- ARGV[3] 'look' to change nothing; 'charge', or nothing
-- ARGV[4] now in µs; the server's own time where there is none
-- Returns of each request: byte admitted, double now, and for each limit: byte admits;
--   doubles remaining, µs to reset (both before the charge), µs to reset after it,
--   µs to retry or -1 for never, what is granted where all admit, mark
-- One script, because the limits must not change between the decision and the charges.
-- Begins with parts.lua; its twin is algorithm.rs. All numbers are whole and below 2^53, and a quotient
-- is rounded at once: `q - q % 1` down, `q + -q % 1` up, which is exact, and costs no call.

local now, spare_ms
if ARGV[4] then
  -- Keys still expire by the server's time: late enough for whoever plays with another.
  now, spare_ms = tonumber(ARGV[4]), 60000
else
  local time = redis.call('TIME')
  now, spare_ms = time[1] * 1000000 + time[2], 0
end

-- What is not ours under a key, an error of another type too, is as good as nothing. Any other error is one.
local function ours(command, key, place)
  local found
  if place then
    found = redis.pcall(command, key, place)
  else
    found = redis.pcall(command, key)
  end
  if type(found) == 'table' then
    if string.sub(found.err, 1, 9) ~= 'WRONGTYPE' then
      error(found)
    end
    return false
  end
  return found
end

-- Globals are looked up by name each time.
local keys, read, write = KEYS, struct.unpack, struct.pack
local replies, from, last = '', 1, 0
local kind, shadow, cost, want, capacity, debt, a, b, c
local admits, granted, is_ahead, x, y, z, most, other
for request = 1, #ARGV[2] do
  local first, admitted, rows = last + 1, 1, ''
  last = last + string.byte(ARGV[2], request)
  local plans = last > first and {}
  for i = first, last do
    kind, shadow, cost, want, capacity, debt, a, b, c, from =
      read('>BBddddddd', ARGV[1], from)
    local remaining, reset, retry, mark = 0, 0, 0, 0
    local found = kind ~= 4 and ours('GET', keys[i])
    is_ahead, most, other = false, capacity + debt, nil

    if kind == 1 then
      -- x the level, y all that was given back since it began, z when that was.
      x, y, z = 0, 0, now
      local full = capacity * a
      if found and (#found == 57 or #found == 114) then
        local tag, unit, drain, limit, level, at, returned, began =
          read('>Bddddddd', found)
        if #found > 57 or unit ~= a or drain ~= b or limit ~= most then
          local mine
          mine, other = parts_of(found, 57, write('>Bddd', 1, a, b, most))
          tag, unit, drain, limit, level, at, returned, began =
            read('>Bddddddd', mine or other)
          if not mine then
            -- A limit that was lowered is lower at once. What was charged before is not given back by it.
            if unit ~= a then
              level = level / unit
              level = (level + -level % 1) * a
            end
            level, returned, began = math.min(level, most * a), 0, now
          end
          -- Of what a larger one counts, a smaller one can take over all that it needs.
          if other and read('>d', other, 18) <= most then
            other = nil
          end
        end
        if tag == 1 and unit >= 1 and level >= 0 and at >= 0 then
          if at > now then
            is_ahead, began = true, now
          else
            level = level - (now - at) * b
          end
          if level > 0 then
            x, y, z = level, returned, began
          end
        else
          other = nil
        end
      end
      if x < full then
        remaining = (full - x) / a
        remaining = remaining - remaining % 1
      end
      if cost > remaining then
        retry = (x + cost * a - full) / b
        retry = retry + -retry % 1
      end
      reset, mark = x / b, x / a
      reset, mark = reset + -reset % 1, mark - mark % 1 + y

    elseif kind == 2 then
      -- x the start of the window, y what was charged in it.
      x, y, z = now - now % a, 0, 0
      if found and (#found == 33 or #found == 66) then
        local tag, period, start, used, at = read('>Bdddd', found)
        if #found > 33 or period ~= a then
          local mine
          mine, other = parts_of(found, 33, write('>Bd', 2, a))
          tag, period, start, used, at = read('>Bdddd', mine or other)
        end
        if tag ~= 2 or not (used >= 0) then
          other = nil
        elseif period ~= a then
          -- All of it, if some was charged in this window.
          if at >= x then
            y, is_ahead = math.min(used, most), at > now
          end
        elseif start >= x then
          y, is_ahead = used, start > x
        end
      end
      remaining, retry = math.max(capacity - y, 0), x + a - now
      reset = y > 0 and retry or 0

    elseif kind == 3 then
      -- x the start of the window, y what was charged in it, z in the one before.
      x, y, z = now - now % a, 0, 0
      if found and (#found == 41 or #found == 82) then
        local tag, period, start, current, previous, at = read('>Bddddd', found)
        if #found > 41 or period ~= a then
          local mine
          mine, other = parts_of(found, 41, write('>Bd', 3, a))
          tag, period, start, current, previous, at = read('>Bddddd', mine or other)
        end
        if tag ~= 3 or not (current >= 0 and previous >= 0) then
          other = nil
        elseif period ~= a then
          -- All of it, in the last of these windows in which some was charged.
          if at >= x then
            y = current
          elseif at + a >= x then
            z = current
          end
          if start > x then
            y = y + previous
          elseif start + a > x then
            z = z + previous
          end
          y, z, is_ahead = math.min(y, most), math.min(z, most), at > now
        elseif start >= x then
          y, z, is_ahead = current, previous, start > x
        elseif x - start <= a then
          z = current
        end
      end
      local passed = (now - x) / b
      passed = passed - passed % 1
      local room = capacity * c - y * c - z * (c - passed)
      if room > 0 then
        remaining = room / c
        remaining = remaining - remaining % 1
      end
      reset = (y > 0 and x + 2 * a - now) or (z > 0 and x + a - now) or 0
      if cost > remaining and cost <= capacity then
        -- What the window before may weigh for it to pass: in this window, or else in the next.
        local weight
        if y + cost <= capacity then
          weight, retry = (capacity - cost - y) * c / z, x + a - now
        else
          weight, retry = (capacity - cost) * c / y, x + 2 * a - now
        end
        weight = weight - weight % 1
        if weight >= 1 then
          retry = retry - a + (c - weight) * b
        end
      end

    else
      -- A list of charges {4, at, cost}, the oldest first, and after the newest {5, their sum}.
      -- x what they come to, y how many of them are over or -1 where there is no such list, z by how much
      -- they are ahead of the clock.
      x, y, z = 0, -1, 0
      local sum, newest = ours('LINDEX', keys[i], -1), ours('LINDEX', keys[i], -2)
      if sum and newest and #sum == 9 and #newest == 17 and string.byte(sum) == 5 then
        local _, total = read('>Bd', sum)
        local _, last = read('>Bd', newest)
        x, y, z = total, 0, math.max(last - now, 0)
        is_ahead, reset = z > 0, last - z + a - now
        -- Mostly the first few say all.
        local freed, place, width, is_done = 0, 0, 4, false
        while not is_done do
          local some = redis.call('LRANGE', keys[i], place, place + width - 1)
          is_done = #some < width
          for _, entry in ipairs(some) do
            if #entry ~= 17 then
              break
            end
            local _, at, n = read('>Bdd', entry)
            at = math.max(at - z, 0)
            if at + a <= now then
              x, y = x - n, y + 1
            else
              if x - freed + cost > capacity then
                freed, retry = freed + n, at + a - now
              end
              if x - freed + cost <= capacity or cost > capacity then
                is_done = true
                break
              end
            end
          end
          place, width = place + width, 64
        end
        reset = x > 0 and reset or 0
      end
      remaining = math.max(capacity - x, 0)
    end

    admits, granted = cost <= remaining, 0
    if admits then
      granted, retry = (want <= cost and cost) or (want < remaining and want) or remaining, 0
    else
      admitted = shadow == 0 and 0 or admitted
      retry = cost > capacity and -1 or retry
    end
    local after = a
    if kind == 1 then
      after = (x + granted * a) / b
      after = after + -after % 1
    elseif kind < 4 then
      after = x + (kind - 1) * a - now
    end
    rows = rows .. write('>Bdddddd',
      admits and 1 or 0, remaining, reset, after, retry, granted, mark)
    if plans then
      plans[i] = {kind, granted, is_ahead, a, b, x, y, z, most, other}
    end
  end

  for i = first, ARGV[3] == 'look' and 0 or last do
    if plans then
      kind, granted, is_ahead, a, b, x, y, z, most, other = unpack(plans[i], 1, 10)
    end
    granted = admitted == 1 and granted or 0
    -- Otherwise time alone changes what is there. A clock that was set back is made good for at once.
    if granted > 0 or is_ahead then
      local state, ms
      if kind == 1 then
        x = x + granted * a
        state = write('>Bddddddd', 1, a, b, most, x, now, y, z)
        ms = math.max(x / b, 1) / 1000
      elseif kind == 2 then
        state, ms = write('>Bdddd', 2, a, x, y + granted, now), (x + a - now) / 1000
      elseif kind == 3 then
        state, ms = write('>Bddddd', 3, a, x, y + granted, z, now), (x + 2 * a - now) / 1000
      else
        ms = a / 1000
      end
      if other then
        local part, lasts = charged_too(kind, other, now, granted)
        if part then
          state, ms = state .. part, math.max(ms, lasts / 1000)
        end
      end
      ms = string.format('%.0f', ms + -ms % 1 + spare_ms)
      if state then
        redis.call('SET', keys[i], state, 'PX', ms)
      else
        -- The key is never missing in between: while its slot moves, it could not be written again.
        local cut = 0
        if y < 0 then
          redis.call('UNLINK', keys[i])
        elseif is_ahead then
          -- All charges go back as far as the clock did, so that the newest is now.
          local all = redis.call('LRANGE', keys[i], y, -2)
          for _, entry in ipairs(all) do
            local _, at, n = read('>Bdd', entry)
            redis.call('RPUSH', keys[i], write('>Bdd', 4, math.max(at - z, 0), n))
          end
          cut = y + #all + 1
        elseif x > 0 then
          redis.call('LTRIM', keys[i], y, -2)
        else
          cut = y + 1
        end
        if granted > 0 then
          redis.call('RPUSH', keys[i], write('>Bdd', 4, now, granted))
        end
        redis.call('RPUSH', keys[i], write('>Bd', 5, x + granted))
        if cut > 0 then
          redis.call('LTRIM', keys[i], cut, -1)
        end
        redis.call('PEXPIRE', keys[i], ms)
      end
    end
  end
  replies = replies .. write('>Bd', admitted, now) .. rows
end
return replies
