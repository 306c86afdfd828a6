-- Has nobody take jobs, or everybody again.
-- ARGV[1] '1' nobody
-- Returns 1
-- One script, because whoever looks between the change and the tokens would find nothing, and wait.

if ARGV[1] == '1' then
  call('HSET', META, 'paused', '1')
else
  call('LLEN', WAKE)
  call('HDEL', META, 'paused')
  wake(waiting_in_lists())
end
return 1
