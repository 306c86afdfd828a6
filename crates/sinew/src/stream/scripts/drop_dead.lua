-- Removes dead letters of a group.
-- KEYS[1] dead  KEYS[2] groups   ARGV[1] group  then ids of letters
-- Returns how many

local letters = letters_of(KEYS[1], ARGV[1])
remove_dead(KEYS[1], KEYS[2], letters)
return #letters
