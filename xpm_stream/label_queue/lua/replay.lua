-- Takes a dead letter back to life. Returns 'stream', 'relabel' or 'gone'.
-- KEYS: dead, labels, counters, relabels, relabel_queue, shards, meta, dead_bits of the shard
-- arguments: id, shard, ordinal
local dead, labels, counters, relabels, queue, shards, meta, dead_bits =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local letter = entry_at(dead, arguments.id)
if not letter then return 'gone' end

local went
if letter.side == 'trainer' and letter.m and #letter.m > 0 then
  redis.call('XADD', labels, '*', 's', letter.s, 'm', letter.m, 'r', letter.r or 0)
  add_count(counters, 'bytes', #letter.m)
  went = 'stream'
else
  local record = {relabels = tonumber(letter.r or 0), reason = 'replayed'}
  add_relabel(relabels, queue, counters, letter.s, record, now_ms())
  went = 'relabel'
end
redis.call('XDEL', dead, arguments.id)
redis.call('SETBIT', dead_bits, integer(arguments.ordinal), 0)
add_count(counters, 'dead.' .. letter.reason, -1)
redis.call('HINCRBY', meta, 'moves', 1)
local row = load_row(shards, arguments.shard)
if row then
  count_reason(row, 'dead', letter.reason, -1)
  save_row(shards, arguments.shard, row)
end
return went
