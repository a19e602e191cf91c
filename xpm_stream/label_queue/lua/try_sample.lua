-- Books, before it is read, that the sample at a lease's cursor is now tried alone: should the labeler die, the count
-- stands. A commit forgets it. Renews the lease.
-- KEYS: shards, leases, pending, failed
-- arguments: shard, lease, token, ttl_ms, tried (the new count, so that a repeat changes nothing)
local shards, leases = KEYS[1], KEYS[2]
local now = now_ms()
local row = load_row(shards, arguments.shard)
local lost = lease_error(row, now)
if lost then return lost end
row.tried = arguments.tried
row.expires_ms = now + arguments.ttl_ms
save_row(shards, arguments.shard, row)
redis.call('ZADD', leases, integer(row.expires_ms), arguments.shard)
return 1
