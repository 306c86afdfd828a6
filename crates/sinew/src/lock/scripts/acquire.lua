-- Grants a lock, or says when to ask again. Who wants to wait is put in line, and stays there by asking.
-- KEYS[1] holders  KEYS[2] line  KEYS[3] waiters  KEYS[4] claim  KEYS[5] fence
-- ARGV[1] token  ARGV[2] TTL in ms  ARGV[3] channel of processes
-- ARGV[4] for how long a waiter is taken for alive, in ms; without it, it does not wait
-- ARGV[5] arrival as told before, if it was
-- Returns the fence, 0 for a permit: granted now, or before to this very token
--         {ms} or {ms, arrival}: not now, ask again after so long, unless woken
-- One script, because between looking and taking another one would take it.

-- Longer than any TTL. After that, the time keeps the fence growing.
local FENCE_KEPT_MS = '172800000'

local token, ttl_ms, kind = ARGV[1], ARGV[2], string.byte(ARGV[1])
local is_alone, is_permit = kind == 120, kind == 115
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)

-- Greater than any before.
local function next_fence()
  local last = tonumber(redis.call('SET', KEYS[5], now_us, 'PX', FENCE_KEPT_MS, 'GET') or 0) or 0
  if last < now_us then
    return now_us
  end
  redis.call('SET', KEYS[5], last + 1, 'PX', FENCE_KEPT_MS)
  return last + 1
end

-- Mostly, nobody holds it and nobody waits. The fence first: a key of another type changes nothing.
if is_alone and redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then
  local fence = next_fence()
  redis.call('ZADD', KEYS[1], now + ttl_ms, token)
  redis.call('PEXPIRE', KEYS[1], ttl_ms)
  return fence
end

-- All is read before anything is written: a key of another type changes nothing.
local fence = tonumber(redis.call('GET', KEYS[5]) or 0) or 0
local held = redis.call('ZCARD', KEYS[1]) > 0
local head, claim
if held or redis.call('ZCARD', KEYS[2]) > 0 then
  redis.call('ZCARD', KEYS[2])
  redis.call('ZCARD', KEYS[3])
  claim = redis.call('GET', KEYS[4])
  tidy(now)
  held = redis.call('ZCARD', KEYS[1]) > 0
  head = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
end

-- Whoever holds is called by its token, or as it was called before.
local function grant(as, held_until, is_new)
  if is_alone and is_new then
    fence = next_fence()
  elseif fence == 0 and not is_permit then
    -- It was lost. Later than any before, earlier than any after.
    fence = now_us
    redis.call('SET', KEYS[5], fence, 'PX', FENCE_KEPT_MS)
  end
  if head then
    redis.call('ZREM', KEYS[2], token)
    redis.call('ZREM', KEYS[3], token)
    if is_new and is_alone and redis.call('ZCARD', KEYS[2]) > 0 then
      as = token .. '!'
    end
  end
  redis.call('ZADD', KEYS[1], held_until, as)
  if held then
    redis.call('PEXPIREAT', KEYS[1], held_until, 'GT')
  else
    redis.call('PEXPIRE', KEYS[1], ttl_ms)
  end
  if head and not is_alone then
    -- The next in line may fit beside it.
    wake(now, ARGV[3])
  end
  return is_permit and 0 or fence
end

for _, as in ipairs(held and {token, token .. '!'} or {}) do
  local held_until = redis.call('ZSCORE', KEYS[1], as)
  if held_until then
    return grant(as, math.max(tonumber(held_until), now + ttl_ms), false)
  end
end

local is_free, free_at = not held or fits(token), nil
if is_free and head and head ~= token then
  local claimed_by, claim_ends = string.match(claim or '', '^(%S+) (%d+)$')
  claim_ends = tonumber(claim_ends)
  -- One that could not have come is not late. A claim that lasts too long was made before the clock was set back.
  if claimed_by == head and claim_ends <= now + CLAIM_MS and fits(head) then
    free_at = claim_ends
  end
  if free_at and free_at <= now then
    -- It did not come: it is dead. If it only was slow, it comes back to its place.
    redis.call('ZREM', KEYS[2], head)
    redis.call('ZREM', KEYS[3], head)
    redis.call('UNLINK', KEYS[4])
    head, free_at = redis.call('ZRANGE', KEYS[2], 0, 0)[1], nil
  end
  if head and head ~= token then
    is_free, free_at = false, free_at or wake(now, ARGV[3])
  end
end
if is_free then
  return grant(token, now + ttl_ms, true)
end

local arrival
if ARGV[4] then
  arrival = tonumber(redis.call('ZSCORE', KEYS[2], token) or ARGV[5])
  if not arrival then
    local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
    arrival = math.max(now_us, tonumber(last or 0) + 1)
  end
  redis.call('ZADD', KEYS[2], arrival, token)
  redis.call('ZADD', KEYS[3], now + ARGV[4], token)
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
  redis.call('PEXPIRE', KEYS[3], ARGV[4])
  local holder = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  if holder[1] and string.match(holder[1], '^x[^!]*$') then
    redis.call('ZADD', KEYS[1], holder[2], holder[1] .. '!')
    redis.call('ZREM', KEYS[1], holder[1])
  end
end
if not free_at then
  -- For a permit, the first hold that runs out will do; for others, the last has to.
  local first = is_permit and 'ZRANGE' or 'ZREVRANGE'
  free_at = tonumber(redis.call(first, KEYS[1], 0, 0, 'WITHSCORES')[2])
end
-- The first two in line look when it is free, each one behind them a claim later: no herd.
local before = redis.call('ZRANK', KEYS[2], token) or redis.call('ZCARD', KEYS[2])
return {math.max(free_at - now, 1) + math.max(before - 1, 0) * CLAIM_MS, arrival}
