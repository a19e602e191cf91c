-- Adds shards the ledger does not know, at the end of the order. Returns how many were new.
-- KEYS: shards, pending, meta
-- arguments: shards = [{key, url, shard_id, pass_index, size_bytes?, expected_samples?}]
local shards, pending, meta = KEYS[1], KEYS[2], KEYS[3]
local now, added = now_ms(), 0
for _, shard in ipairs(arguments.shards) do
  if redis.call('HEXISTS', shards, shard.key) == 0 then
    local order = redis.call('HINCRBY', meta, 'order', 1)
    save_row(shards, shard.key, {
      url = shard.url, shard_id = shard.shard_id, pass_index = shard.pass_index, size_bytes = shard.size_bytes,
      expected_samples = shard.expected_samples, state = 'pending', order = order, added_ms = now,
    })
    redis.call('ZADD', pending, order, shard.key)
    added = added + 1
  end
end
return added
