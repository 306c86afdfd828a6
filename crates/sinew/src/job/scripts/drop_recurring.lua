-- Removes a recurring job.
-- ARGV[1] name
-- Returns 1 · 0 it was not there
-- One script, so that one that is defined anew finds no ticks of its own.

call('HDEL', root .. 'rect', ARGV[1])
call('HDEL', root .. 'reci', ARGV[1])
return call('HDEL', root .. 'rec', ARGV[1])
