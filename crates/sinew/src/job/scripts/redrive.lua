-- Has dead jobs wait again, with all their attempts.
-- ARGV ids
-- Returns {how many wait, how many stay since another has their unique name, how many were not there}
-- One script, because a job is to be dead or to wait, never both or neither.

call('LLEN', WAKE)
local retried, duplicates, missing = 0, 0, 0
for _, id in ipairs(ARGV) do
  local v = call('ZSCORE', DEAD, id) and call('HGET', shard(id), id)
  if not v or v == '' then
    undead(id)
    missing = missing + 1
  else
    local l = lead(v)
    local holder, ends
    if l.digest ~= '' then
      holder, ends = holder_of(l.digest)
    end
    if holder and holder ~= id then
      duplicates = duplicates + 1
    else
      undead(id)
      local note = note_of(v, l)
      if sub(note, 1, 1) ~= 'R' then
        note = 'R' .. note
      end
      call('HSET', shard(id), id, rewritten(v, l, l.first - l.first % 64, note))
      if l.digest ~= '' then
        call('SET', root .. 'u:' .. l.digest, id .. ';' .. int(ends or 0) .. ';')
      end
      change_batch(l.batch, 1, 'failed', -1)
      size = size + 1
      ready(id, l)
      retried = retried + 1
    end
  end
end
flush()
wake(runnable)
write_meta()
return {retried, duplicates, missing}
