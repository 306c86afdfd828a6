-- Publishes what was delayed and is due.
-- KEYS[1] log  KEYS[2] delayed  KEYS[3] their bodies   ARGV[1] how many at most
-- Returns {how many, when the next is due in ms or 0}
-- One script, because each is to be published once, whoever looks.

return {promote(KEYS[2], KEYS[3], ARGV[1]), next_in(KEYS[2])}
