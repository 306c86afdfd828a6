-- What the steps on a lock share; it goes before each of them, and does nothing by itself.
-- KEYS[1] holders: token → held until, in ms    KEYS[2] line: token → arrival
-- KEYS[3] waiters: token → alive until, in ms   KEYS[4] claim: 'token until'
-- A token is KIND.PROCESS.OWN, its kind x (alone), r (with others of its kind) or sN (N at most).
-- One that holds alone is called 'token!' while someone waits: only if it is not, it may be removed without a script.

-- For so long, what was freed is reserved for the first in line.
local CLAIM_MS = 50

-- A number in a text. Alone, redis.call takes it as it is.
local function int(number)
  return string.format('%.0f', number)
end

-- Forgets those whose time is over.
local function tidy(now)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
  local dead = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 500)
  if #dead > 0 then
    redis.call('ZREM', KEYS[2], unpack(dead))
    redis.call('ZREM', KEYS[3], unpack(dead))
  end
end

-- Whether a token can be granted beside those who hold.
local function fits(token)
  local other = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
  if not other then
    return true
  end
  local kind = string.sub(token, 1, 1)
  if kind == 'x' or kind ~= string.sub(other, 1, 1) then
    return false
  end
  return kind == 'r' or redis.call('ZCARD', KEYS[1]) < tonumber(string.match(token, '^s(%d+)'))
end

-- Reserves what is free for the first in line, for a while, and wakes it.
-- Returns until when, or nil if it could not have it now.
local function wake(now, channel)
  local line = redis.call('ZRANGE', KEYS[2], 0, 15)
  local head = line[1]
  if not head or not fits(head) then
    return nil
  end
  local claim_ends = now + CLAIM_MS
  redis.call('SET', KEYS[4], head .. ' ' .. int(claim_ends), 'PX', '5000')
  -- Refused to a user without the channel: those who wait look by themselves, only later.
  local process = string.match(head, '%.(%x+)%.')
  redis.pcall('PUBLISH', channel .. process, head .. ' 0')
  -- It may be dead, and its process with it: one of another process is to look when the claim ends.
  local second = line[2]
  for i = 2, #line do
    if string.match(line[i], '%.(%x+)%.') ~= process then
      second = line[i]
      break
    end
  end
  if second then
    process = string.match(second, '%.(%x+)%.')
    redis.pcall('PUBLISH', channel .. process, second .. ' ' .. CLAIM_MS)
  end
  return claim_ends
end

