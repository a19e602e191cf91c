-- Leases a shard whose lease has expired, else the first pending one. Returns its row, or nil.
-- KEYS: shards, pending, leases, meta, counters
-- arguments: owner, lease, ttl_ms
local shards, pending, leases, meta, counters = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now = now_ms()

-- A repeat is known by the shard its owner was given last: looking through every lease would cost each labeler's every
-- look for work as many rows as there are labelers. Should two labelers have one name, a repeat may be taken for a new
-- request; the shard that nobody knows of is then free again at its lease's deadline.
local last_of_owner = 'last_lease:' .. arguments.owner
local last = redis.call('HGET', meta, last_of_owner)
local given = last and load_row(shards, last)
if given and given.lease == arguments.lease then return cmsgpack.pack(given) end

local shard = redis.call('ZRANGEBYSCORE', leases, '-inf', integer(now), 'LIMIT', 0, 1)[1]
local expired = shard ~= nil
if not shard then shard = redis.call('ZRANGE', pending, 0, 0)[1] end
if not shard then return false end

local row = load_row(shards, shard)
row.token = redis.call('HINCRBY', meta, 'fence', 1)
redis.call('HSET', meta, last_of_owner, shard)
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
