-- Moves a lease's deadline.
-- KEYS: shards, leases, pending, failed
-- arguments: shard, lease, token, ttl_ms
local shards, leases = KEYS[1], KEYS[2]
allow_growth(shards)  -- or each labeler that waits until the trainer has made room would lose its shard
local now = now_ms()
local row = load_row(shards, arguments.shard)
local lost = lease_error(row, now)
if lost then return lost end
row.expires_ms = now + arguments.ttl_ms
save_row(shards, arguments.shard, row)
redis.call('ZADD', leases, integer(row.expires_ms), arguments.shard)
return 1
