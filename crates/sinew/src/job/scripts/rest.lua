-- What most turns do not need. It goes behind ends.lua and lanes.lua, inside of a function: to define it all would cost as
-- much as a turn of one job, hence it is done where it is met.

return {
  is_awaited = is_awaited, tell_end = tell_end, owe = owe, release = release, change_batch = change_batch, bury = bury,
  give_back = give_back, keep_alive = keep_alive, promote = promote, reclaim = reclaim, forget_kept = forget_kept,
  put_off = put_off, drop_fields = drop_fields,
}
