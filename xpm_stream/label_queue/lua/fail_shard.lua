-- Takes a shard that cannot be opened out of the order, with its reason. Returns 0 when that has been done.
-- KEYS: shards, leases, pending, failed
-- arguments: shard, lease, token, ttl_ms, reason
local shards, leases, failed = KEYS[1], KEYS[2], KEYS[4]
local row = load_row(shards, arguments.shard)
if row and row.state == 'failed' and row.token == arguments.token then return 0 end
local lost = lease_error(row, now_ms())
if lost then return lost end
row.state, row.owner, row.lease, row.expires_ms = 'failed', nil, nil, nil
row.note = arguments.reason
row.takeovers, row.tried = nil, nil  -- a retry begins anew
save_row(shards, arguments.shard, row)
redis.call('ZREM', leases, arguments.shard)
redis.call('ZADD', failed, row.order, arguments.shard)
return 1
