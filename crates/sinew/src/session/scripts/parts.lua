-- What the steps on a session share; it goes before each of them, and does nothing by itself.
-- KEYS[1] session, a string. Of a user's, also KEYS[2] epoch: a number, and KEYS[3] index: id → when it ends unless
-- it is used. Where a step has them in another order, it says so.
-- The string has the session whole, and behind it what was saved since, which redis/mod.rs appends without a script. All
-- numbers are big-endian. Whole, it is an S, and six doubles, which Lua need not parse: its version, which each save behind it
-- counts up; when it was used last; when it ends however much it is used; for how long it may go unused, 0 for ever; when it
-- began; the epoch of its user then, or 0. Then, behind its length in two bytes: its address, or '-', a space, the bytes of
-- its user's name, a space, that name, and its device right behind it. Then its data.
-- Each datum: its name behind its length in two bytes; a double, when it is over, 0 with the session, or -1: it is gone;
-- and its JSON behind its length in four. The last one of a name counts. One without a name begins a save.
-- What begins with no S is no session, such as what bury() leaves.
-- Its key lives until it ends, unless it is used.
-- Times are in ms since 1970, by that clock. Its twin is model.rs.

local SESSION, EPOCH, INDEX = KEYS[1], KEYS[2], KEYS[3]
local ID_LEN = 22
local HEAD, HEAD_LEN, DATUM = '>c1ddddddI2c0', 51, '>I2c0dI4'

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

-- The session, unless it has ended. `own` is for how long it may go unused by whoever asks, if that matters.
local function live(own)
  local text = redis.call('GET', SESSION)
  if not text or #text < HEAD_LEN or string.sub(text, 1, 1) ~= 'S' then
    return nil
  end
  local s, _ = {text = text}, nil
  _, s.v, s.seen, s.ends, s.idle, s.made, s.epoch, s.who, s.data_at = struct.unpack(HEAD, text)
  local idle = own and own > 0 and math.min(s.idle, own) or s.idle
  if now >= s.ends or s.idle > 0 and now >= s.seen + idle then
    return nil
  end
  if s.epoch > 0 and not (EPOCH and tonumber(redis.call('GET', EPOCH)) == s.epoch) then
    return nil
  end
  return s
end

-- When it ends, unless it is used.
local function expires(s)
  return s.idle > 0 and math.min(s.ends, s.seen + s.idle) or s.ends
end

-- Ends a session. A save may be on its way whose look has found it live: it is appended to what lies here for longer than a
-- save takes, and goes with it. Only where it is: while the slot moves, what is elsewhere must not be here too.
local function bury(session)
  if redis.call('UNLINK', session) > 0 then
    redis.call('SET', session, 'ended', 'PX', 60000)
  end
end

-- Keeps a key for so many ms at least.
local function keep(key, ms)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, int(ms))
  end
end

-- Sets when a session ends by itself, and where it stands among its user's.
local function lasts(s)
  redis.call('PEXPIREAT', SESSION, int(expires(s)))
  if INDEX then
    redis.call('ZADD', INDEX, int(expires(s)), string.sub(SESSION, -ID_LEN))
    keep(INDEX, math.max(expires(s) - now, 1))
  end
end

-- It is used, which is yet to be written.
local function use(s, own)
  s.seen = now
  if s.idle > 0 then
    s.idle = own
  end
end

-- Writes it, with the data that it has. A Redis that is full refuses a script whose first write needs memory: not what
-- makes nothing larger.
local function write(s, is_no_larger)
  if is_no_larger then
    redis.call('PEXPIREAT', SESSION, int(expires(s)))
  end
  local head = struct.pack(HEAD, 'S', s.v, s.seen, s.ends, s.idle, s.made, s.epoch, #s.who, s.who)
  local text = head .. string.sub(s.text, s.data_at)
  redis.call('SET', SESSION, text, 'KEEPTTL')
  return #text
end

-- Makes the changes ARGV[first] name, how, JSON, name, how, JSON, and so on, which is yet to be written. How: '-' it goes,
-- else when it is over, as at() has it. Returns whether there is room, whether it became no larger, and the JSON that
-- was there of the datum that is changed, where it is one.
local function change(s, first, n_max, len_max)
  local text, pos, there, names = s.text, s.data_at, {}, {}
  while pos <= #text do
    local name, ends, json_len, json_at = struct.unpack(DATUM, text, pos)
    if name == '' then
      s.v = s.v + 1
    else
      if there[name] == nil then
        names[#names + 1] = name
      end
      there[name] = (ends == 0 or ends > 0 and ends > now) and pos
    end
    pos = json_at + json_len
  end
  local changed, data, n, len, n_before, len_before, before = {}, {}, 0, 0, 0, 0, nil
  for i = first, #ARGV, 3 do
    local name, how, json = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    changed[name] = true
    if how ~= '-' then
      n, len = n + 1, len + #name + #json
      data[#data + 1] = struct.pack(DATUM, #name, name, at(how) or 0, #json)
      data[#data + 1] = json
    end
  end
  local is_no_larger = n == 0
  for _, name in ipairs(names) do
    if there[name] then
      local _, _, json_len, json_at = struct.unpack(DATUM, text, there[name])
      local size, last = #name + json_len, json_at + json_len - 1
      n_before, len_before = n_before + 1, len_before + size
      if changed[name] then
        before = string.sub(text, json_at, last)
      else
        n, len = n + 1, len + size
        data[#data + 1] = string.sub(text, there[name], last)
      end
    end
  end
  s.text, s.data_at = table.concat(data), 1
  -- What has become too large some other way may become smaller.
  local fits = (n <= n_max or n <= n_before) and (len <= len_max or len <= len_before)
  return fits, is_no_larger, before
end
