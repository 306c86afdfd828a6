-- Grants a lock, or says when to ask again. Who wants to wait is put in line, and stays there by asking.
-- KEYS[1] holders  KEYS[2] line  KEYS[3] waiters  KEYS[4] claim  KEYS[5] fence
-- ARGV[1] token  ARGV[2] TTL in ms  ARGV[3] for how long a waiter is taken for alive, in ms; 0 does not wait
-- ARGV[4] arrival as told before, or ''  ARGV[5] channel of processes
-- Returns {1, fence} granted now, or before to this very token
--         {0, ms, arrival or ''} not now: ask again after so long, unless woken
-- One script, because between looking and taking another one would take it.

-- Longer than any TTL. After that, the time keeps the fence growing.
local FENCE_KEPT_MS = '172800000'

local token, ttl_ms, kind = ARGV[1], ARGV[2], string.byte(ARGV[1])
local is_alone, is_permit = kind == 120, kind == 115
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)

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

local function grant(held_until, is_new)
  local told = '0'
  if is_alone and is_new then
    fence = math.max(fence + 1, now_us)
    told = int(fence)
    redis.call('SET', KEYS[5], told, 'PX', FENCE_KEPT_MS)
  elseif not is_permit then
    if fence == 0 then
      -- It was lost. Later than any before, earlier than any after.
      fence = now_us
      redis.call('SET', KEYS[5], int(fence), 'PX', FENCE_KEPT_MS)
    end
    told = int(fence)
  end
  redis.call('ZADD', KEYS[1], int(held_until), token)
  if held then
    redis.call('PEXPIREAT', KEYS[1], int(held_until), 'GT')
  else
    redis.call('PEXPIRE', KEYS[1], ttl_ms)
  end
  if head then
    redis.call('ZREM', KEYS[2], token)
    redis.call('ZREM', KEYS[3], token)
    if not is_alone then
      -- The next in line may fit beside it.
      wake(now, ARGV[5])
    end
  end
  return {1, told}
end

local held_until = held and redis.call('ZSCORE', KEYS[1], token)
if held_until then
  return grant(math.max(tonumber(held_until), now + ttl_ms), false)
end

local is_free, free_at = not held or fits(token), nil
if is_free and head and head ~= token then
  local claimed_by, claim_ends = string.match(claim or '', '^(%S+) (%d+)$')
  -- One that could not have come is not late.
  free_at = claimed_by == head and fits(head) and tonumber(claim_ends) or nil
  if free_at and free_at <= now then
    -- It did not come: it is dead. If it only was slow, it comes back to its place.
    redis.call('ZREM', KEYS[2], head)
    redis.call('ZREM', KEYS[3], head)
    redis.call('UNLINK', KEYS[4])
    head, free_at = redis.call('ZRANGE', KEYS[2], 0, 0)[1], nil
  end
  if head and head ~= token then
    is_free, free_at = false, free_at or wake(now, ARGV[5])
  end
end
if is_free then
  return grant(now + ttl_ms, true)
end

local arrival = ''
if ARGV[3] ~= '0' then
  arrival = tonumber(redis.call('ZSCORE', KEYS[2], token) or ARGV[4])
  if not arrival then
    local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
    arrival = math.max(now_us, tonumber(last or 0) + 1)
  end
  arrival = int(arrival)
  redis.call('ZADD', KEYS[2], arrival, token)
  redis.call('ZADD', KEYS[3], int(now + ARGV[3]), token)
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  redis.call('PEXPIRE', KEYS[3], ARGV[3])
end
if not free_at then
  -- For a permit, the first hold that runs out will do; for others, the last has to.
  local first = is_permit and 'ZRANGE' or 'ZREVRANGE'
  free_at = tonumber(redis.call(first, KEYS[1], 0, 0, 'WITHSCORES')[2])
end
-- The first two in line look when it is free, each one behind them a claim later: no herd.
local before = redis.call('ZRANK', KEYS[2], token) or redis.call('ZCARD', KEYS[2])
return {0, math.max(free_at - now, 1) + math.max(before - 1, 0) * CLAIM_MS, arrival}
