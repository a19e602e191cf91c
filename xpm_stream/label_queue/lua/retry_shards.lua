-- Puts failed shards back at their old places in the order. Returns how many.
-- KEYS: shards, pending, failed
-- arguments: shards? = [key]; without it all failed ones
local shards, pending, failed = KEYS[1], KEYS[2], KEYS[3]
local retried = 0
for _, shard in ipairs(arguments.shards or redis.call('ZRANGE', failed, 0, -1)) do
  local row = load_row(shards, shard)
  if row and row.state == 'failed' then
    row.state, row.note = 'pending', nil
    save_row(shards, shard, row)
    redis.call('ZREM', failed, shard)
    redis.call('ZADD', pending, row.order, shard)
    retried = retried + 1
  end
end
return retried
