-- Takes a dead letter back to life. Returns 'stream', 'relabel' or 'gone'.
-- Somebody decided that it is to be tried again, so it begins anew: no failures, and not yet relabelled.
-- KEYS: dead, labels, counters, relabels, relabel_queue, shards, meta, dead_bits of the shard
-- arguments: id, shard, ordinal, relabel (whether to label the sample again although there is a message)
local dead, labels, counters, relabels, queue, shards, meta, dead_bits =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local letter = entry_at(dead, arguments.id)
if not letter then return 'gone' end

local went
if letter.m and #letter.m > 0 and not arguments.relabel then
  redis.call('XADD', labels, '*', 's', letter.s, 'm', letter.m)
  add_count(counters, 'bytes', #letter.m)
  add_count(counters, 'replayed', 1)
  went = 'stream'
else
  add_relabel(relabels, queue, counters, letter.s, {relabels = 0, reason = 'replayed'}, now_ms())
  went = 'relabel'
end
redis.call('XDEL', dead, arguments.id)
add_count(counters, 'dead.' .. letter.reason, -1)
redis.call('HINCRBY', meta, 'moves', 1)
-- A second letter of the same sample takes nothing off the row again.
if redis.call('SETBIT', dead_bits, integer(arguments.ordinal), 0) == 1 then
  local row = load_row(shards, arguments.shard)
  if row then
    count_reason(row, 'dead', letter.reason, -1)
    save_row(shards, arguments.shard, row)
  end
end
return went
