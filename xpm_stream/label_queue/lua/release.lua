-- Gives a shard back at its old place in the order. Returns 0 when the lease is over already.
-- KEYS: shards, leases, pending, failed
-- arguments: shard, lease, token, ttl_ms
local shards, leases, pending = KEYS[1], KEYS[2], KEYS[3]
local row = load_row(shards, arguments.shard)
if not row or row.lease ~= arguments.lease then return 0 end
row.state, row.owner, row.lease, row.expires_ms = 'pending', nil, nil, nil
save_row(shards, arguments.shard, row)
redis.call('ZREM', leases, arguments.shard)
redis.call('ZADD', pending, row.order, arguments.shard)
return 1
