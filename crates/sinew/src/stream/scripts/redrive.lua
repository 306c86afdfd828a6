-- Publishes dead letters anew, for the group alone that could not handle them.
-- KEYS[1] log  KEYS[2] dead  KEYS[3] meta  KEYS[4] groups  KEYS[5] delayed   ARGV[1] group  then ids of letters
-- Returns {1, how many} · {3} the topic is full
-- One script, because a letter is to be either dead or published.

local group = ARGV[1]
local letters = letters_of(KEYS[2], group)
local cap = tonumber(redis.call('HGET', KEYS[3], 'cap') or math.huge)
if #letters > 0 and not has_room(#letters, cap, KEYS[4], KEYS[5]) then
  return {3}
end
for _, letter in ipairs(letters) do
  -- It is the event that it was: what nobody said of it, its first place tells.
  local was = field_of(letter, 'was') or field_of(letter, 'dl-id') or letter[1]
  local fields = {'for', group, 'was', was}
  for i = 1, #letter[2], 2 do
    local name = letter[2][i]
    if name ~= 'for' and name ~= 'was' and string.sub(name, 1, 3) ~= 'dl-' then
      fields[#fields + 1] = name
      fields[#fields + 1] = letter[2][i + 1]
    end
  end
  redis.call('XADD', LOG, '*', unpack(fields))
end
remove_dead(KEYS[2], KEYS[4], letters)
return {1, #letters}
