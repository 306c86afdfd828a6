-- Whose lease is not over.
-- KEYS[1] members
-- Returns their names
-- A script, because leases go by the store's clock.

return redis.call('ZRANGEBYSCORE', KEYS[1], int(now), '+inf')
