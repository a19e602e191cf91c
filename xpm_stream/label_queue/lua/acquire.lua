-- Leases a shard whose lease has expired, else the first pending one. Returns its row, or nil.
-- KEYS: shards, pending, leases, meta, counters
-- arguments: owner, lease, ttl_ms
local shards, pending, leases, meta, counters = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now = now_ms()

for _, shard in ipairs(redis.call('ZRANGE', leases, 0, -1)) do
  local row = load_row(shards, shard)
  if row and row.lease == arguments.lease then return cmsgpack.pack(row) end  -- a repeat
end

local shard = redis.call('ZRANGEBYSCORE', leases, '-inf', integer(now), 'LIMIT', 0, 1)[1]
local expired = shard ~= nil
if not shard then shard = redis.call('ZRANGE', pending, 0, 0)[1] end
if not shard then return false end

local row = load_row(shards, shard)
row.token = redis.call('HINCRBY', meta, 'fence', 1)
row.state, row.owner, row.lease = 'leased', arguments.owner, arguments.lease
row.expires_ms = now + arguments.ttl_ms
if expired then
  row.takeovers = (row.takeovers or 0) + 1
  add_count(counters, 'lease_expiries', 1)
end
save_row(shards, shard, row)
redis.call('ZREM', pending, shard)
redis.call('ZADD', leases, integer(row.expires_ms), shard)
return cmsgpack.pack(row)
