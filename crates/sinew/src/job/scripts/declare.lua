-- Makes a partition of a queue, or finds how it was made. Who is wrong about the number of partitions changes nothing.
-- ARGV each '' as it is: [1] partitions  [2] most unfinished  [3] most that run  [4] the same of a key  [5] most starts
-- [6] in so many ms  ARGV[7] most unfinished, where nothing was said
-- Returns what numbers() says
-- One script, because the first one to say how many partitions there are is the only one.

local KEYS_MAX = 4096
if not said[14] then
  said[14] = ARGV[1] ~= '' and ARGV[1] or '1'
  call('HSET', META, 'n', said[14])
end
call('LLEN', WAKE)
if ARGV[1] == '' or ARGV[1] == said[14] then
  local set = {}
  for i, name in ipairs({'cap', 'global', 'per_key', 'rate', 'rate_ms'}) do
    local to = ARGV[i + 1]
    if to ~= '' then
      set[#set + 1] = name
      set[#set + 1] = name == 'cap' and to == '0' and ARGV[7] or to
    end
  end
  if (ARGV[5] ~= '' and ARGV[5] ~= said[11]) or (ARGV[6] ~= '' and ARGV[6] ~= said[12]) then
    call('HDEL', META, 'rated')
  end
  if #set > 0 then
    call('HSET', META, unpack(set))
    if ARGV[4] ~= '' then
      -- Keys that had no place left may have one now. Of very many, the audit finds them.
      per_key = tonumber(ARGV[4])
      local keys = call('HLEN', ACT) <= KEYS_MAX and call('HKEYS', ACT) or {}
      table.sort(keys)
      for _, key in ipairs(keys) do
        offer(key)
      end
      flush()
      write_meta()
    end
    -- There may be room for more than there was.
    wake(waiting_in_lists())
  end
end
call('HSETNX', META, 'cap', ARGV[7])
return numbers()
