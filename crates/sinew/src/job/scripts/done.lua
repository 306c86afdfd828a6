-- Looks for a job among those that are done and were not kept, the newest turn first.
-- ARGV[1] id  ARGV[2] how many turns are passed over  ARGV[3] how many turns are looked at
-- Returns {1, when it was told, its line} · {0, how many turns there were}
-- One script, because what it looks through is a thousand times what it answers.

local id, from, max = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local turns = call('LRANGE', root .. 'past', int(-from - max), int(-from - 1))
for i = #turns, 1, -1 do
  if string.find(turns[i], id, 1, true) then
    local at, lines = match(turns[i], '^(%d+);%d+;(.*)$')
    -- Another's line may name it elsewhere.
    local line = at and match('\n' .. lines, '\n(' .. id .. ' [^\n]*)')
    if line then
      return {1, tonumber(at), line}
    end
  end
end
return {0, #turns}
