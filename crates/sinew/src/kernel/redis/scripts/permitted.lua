-- Says which commands the connection's user may not run.
-- KEYS none  ARGV each a command with its arguments, separated by spaces
-- Returns the names of those that are refused or unknown
-- A script, because only a script can ask without running the commands.

local refused = {}
for i, line in ipairs(ARGV) do
  local words = {}
  for word in string.gmatch(line, '%S+') do
    words[#words + 1] = word
  end
  local known, allowed = pcall(redis.acl_check_cmd, unpack(words))
  if not (known and allowed) then
    refused[#refused + 1] = words[1]
  end
end
return refused
