-- Books a failure of a label; with the last allowed one it becomes a dead letter. Returns 1 when it is dead (or gone).
-- KEYS: labels, meta, counters, failures, dead, shards, dead_bits of the shard
-- arguments: group, epoch, name, id, shard ('' when unknown), ordinal, reason, detail, allowed, attempt
local labels, meta, counters, failures, dead, shards, dead_bits =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local fenced = epoch_error(meta)
if fenced then return fenced end
allow_growth(meta)
local id = arguments.id
local fields = entry_at(labels, id)
if not fields then return 1 end

local attempts = math.max(tonumber(redis.call('HGET', failures, id) or 0), arguments.attempt)
if attempts < arguments.allowed then
  redis.call('HSET', failures, id, attempts)
  return 0
end
local sample, message = fields.s or '', fields.m or ''
redis.call('XADD', dead, '*', 's', sample, 'm', message, 'r', fields.r or 0, 'reason', arguments.reason,
  'detail', arguments.detail, 'place', labels .. '@' .. id, 'side', 'trainer', 'attempts', attempts)
redis.call('XACK', labels, arguments.group, id)
redis.call('XDEL', labels, id)
forget_failures(failures, {id})
add_count(counters, 'bytes', -#message)
add_count(counters, 'dead.' .. arguments.reason, 1)
redis.call('HINCRBY', meta, 'moves', 1)
if arguments.shard ~= '' and redis.call('SETBIT', dead_bits, integer(arguments.ordinal), 1) == 0 then
  local row = load_row(shards, arguments.shard)
  if row then
    count_reason(row, 'dead', arguments.reason, 1)
    save_row(shards, arguments.shard, row)
  end
end
return 1
