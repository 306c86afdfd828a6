-- Removes dead jobs.
-- ARGV ids
-- Returns how many
-- One script, because one may be taken from the dead between the look and the end.

local dropped = 0
for _, id in ipairs(ARGV) do
  if undead(id) then
    forget(id)
    dropped = dropped + 1
  end
end
return dropped
