-- What was owed is enqueued.
-- ARGV members
-- Returns how many were there
-- One script, so that nothing is left of one.

call('HDEL', root .. 'outb', unpack(ARGV))
return call('ZREM', OUT, unpack(ARGV))
