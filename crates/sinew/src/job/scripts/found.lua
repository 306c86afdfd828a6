-- What people are told of a job, of the scripts that look for some. It goes behind parts.lua.

-- {id, state, record, when it is due, has died, or is forgotten, or 0, its lane or '', how it ended, progress, log, or nil}
-- State: w waiting · s scheduled · r running · d dead · k done and kept. Nothing where it is not there. To look for its lane is
-- to look at each: with '' for it, one that runs is told as one that waits.
local function found(id, state, lane)
  local v = call('HMGET', shard(id), id, id .. 'f', id .. 'p', id .. 'l')
  if not v[1] or v[1] == '' then
    return nil
  end
  local at
  if v[2] then
    at = tonumber(call('ZSCORE', KEPT, id) or 0)
    if at <= now then
      return nil
    end
    state = 'k'
  elseif not state or state == 'd' or state == 's' then
    at = call('ZSCORE', root .. 'dead', id)
    local is_dead, l = at, lead(v[1])
    at = at or call('ZSCORE', SCHED, due_member(id, l))
    lane = not at and (lane or lane_of(id, l)) or ''
    state = is_dead and 'd' or at and 's' or lane ~= '' and 'r' or 'w'
  end
  return {id, state, v[1], math.min(tonumber(at or 0), 2 ^ 53), lane or '', v[2], v[3], v[4]}
end
