-- What the steps on a session share; it goes before each of them, and does nothing by itself.
-- KEYS[1] session, a hash. Of a user's, also KEYS[2] epoch: a number, and KEYS[3] index: id → when it ends unless
-- it is used. Where a step has them in another order, it says so.
-- The session's fields: _ what it is, each datum under its name, and under _x:NAME when it is over.
-- What it is: nine doubles, which Lua need not parse, and text. Its version; when it was used last; when it ends however
-- much it is used; for how long it may go unused, 0 for ever; how many data it has, their bytes, how many of them have
-- a time of their own; when it began; the epoch of its user then, or 0. Its address, or '-', a space, the bytes of its
-- user's name, a space, that name, and its device right behind it. One field, because to answer with a dozen is what
-- a look would mostly be.
-- Times are in ms since 1970, by Redis's clock. Its twin is model.rs.

local SESSION, EPOCH, INDEX = KEYS[1], KEYS[2], KEYS[3]
local ID_LEN = 22

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)

-- A number in a text.
local function int(number)
  return string.format('%.0f', number)
end

-- When that is: '+N' in so many ms, 'N' then, '' never.
local function at(text)
  if string.sub(text, 1, 1) == '+' then
    return now + string.sub(text, 2)
  end
  return tonumber(text)
end

local NUMBERS, NUMBERS_LEN = '>ddddddddd', 72

-- The session, unless it has ended. `own` is for how long it may go unused by whoever asks, if that matters.
local function live(own)
  local what = redis.call('HGET', SESSION, '_')
  if not what or #what < NUMBERS_LEN then
    return nil
  end
  local s = {}
  s.v, s.seen, s.ends, s.idle, s.n, s.len, s.timed, s.made, s.epoch = struct.unpack(NUMBERS, what)
  s.who = string.sub(what, NUMBERS_LEN + 1)
  local idle = s.idle
  if own and own > 0 and idle > 0 then
    idle = math.min(idle, own)
  end
  if now >= s.ends or idle > 0 and now >= s.seen + idle then
    return nil
  end
  if s.epoch > 0 and not (EPOCH and tonumber(redis.call('GET', EPOCH)) == s.epoch) then
    return nil
  end
  return s
end

-- What it is, as live() reads it.
local function what(s)
  return struct.pack(NUMBERS, s.v, s.seen, s.ends, s.idle, s.n, s.len, s.timed, s.made, s.epoch) .. s.who
end

-- Keeps a key for so many ms at least.
local function keep(key, ms)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, int(ms))
  end
end

-- Sets when a session ends by itself, and where it stands among its user's.
local function lasts(s)
  local expires = s.ends
  if s.idle > 0 then
    expires = math.min(expires, s.seen + s.idle)
  end
  redis.call('PEXPIREAT', SESSION, int(expires))
  if INDEX then
    redis.call('ZADD', INDEX, int(expires), string.sub(SESSION, -ID_LEN))
    keep(INDEX, math.max(expires - now, 1))
  end
end

-- Whether that it is used is to be noted.
local function is_due(s, own)
  return s.idle > 0 and (s.idle ~= own or now - s.seen > math.floor(s.idle / 10))
end

-- It is used, which is yet to be written.
local function use(s, own)
  s.seen = now
  if s.idle > 0 then
    s.idle = own
  end
end

-- The changes ARGV[first] name, how, JSON, name, how, JSON, and so on. How: '-' it goes, '!' it goes if it is
-- over, else when it is over, as at() has it. Returns what is to be set and what is to go; nothing where there is no room.
local function changes(s, first, n_max, len_max)
  local set, gone, n, len, timed = {}, {}, s.n, s.len, s.timed
  for i = first, #ARGV, 3 do
    local name, how, json = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    local expiry = '_x:' .. name
    local over = s.timed > 0 and tonumber(redis.call('HGET', SESSION, expiry))
    if how ~= '!' or over and over <= now then
      local before = redis.call('HSTRLEN', SESSION, name)
      if before > 0 then
        n, len = n - 1, len - before - #name
      end
      local ends = nil
      if how == '-' or how == '!' then
        gone[#gone + 1] = name
      else
        ends = at(how)
        n, len = n + 1, len + #json + #name
        set[#set + 1] = name
        set[#set + 1] = json
      end
      if ends then
        set[#set + 1] = expiry
        set[#set + 1] = int(ends)
      elseif over then
        gone[#gone + 1] = expiry
      end
      timed = timed + (ends and 1 or 0) - (over and 1 or 0)
    end
  end
  -- What has become too large some other way may become smaller.
  if n > n_max and n > s.n or len > len_max and len > s.len then
    return nil
  end
  s.n, s.len, s.timed = n, len, timed
  return set, gone
end

-- Writes what it is, and changes(). What only takes something away is taken by a Redis that is full, too.
local function write(s, set, gone)
  if #set == 0 and #gone > 0 then
    redis.call('HDEL', SESSION, unpack(gone))
    gone = {}
  end
  redis.call('HSET', SESSION, '_', what(s), unpack(set))
  if #gone > 0 then
    redis.call('HDEL', SESSION, unpack(gone))
  end
end
