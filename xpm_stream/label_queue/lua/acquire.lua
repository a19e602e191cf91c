-- Leases a shard whose lease has expired, else the first pending one. Returns its row, or nil.
-- The sorted set `leases` holds by when a shard is free: leased ones, and pending ones that were put off.
-- KEYS: shards, pending, leases, meta, counters, grants, grant_deadlines
-- arguments: owner, lease, ttl_ms
local shards, pending, leases, meta, counters = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local grants, grant_deadlines = KEYS[6], KEYS[7]
local now = now_ms()

-- A repeat gets what the first request got; one that comes when that lease is over has nobody waiting for it.
local given = redis.call('HGET', grants, arguments.lease)
if given then
  local row = load_row(shards, given)
  return row and row.lease == arguments.lease and row.expires_ms > now and cmsgpack.pack(row)
end

local function first_free()
  return redis.call('ZRANGEBYSCORE', leases, '-inf', integer(now), 'LIMIT', 0, 1)[1]
end

local function book_expiry(row)
  row.takeovers = (row.takeovers or 0) + 1
  add_count(counters, 'lease_expiries', 1)
end

-- A labeler that dies leaves its shard to the next. But a shard that was given up at this very place before may be to
-- blame, and one whose store was away may find it away again: both go behind those that wait now, so that they keep no
-- other from being labelled. Their places are new ones, or two such shards would take turns before all others.
local shard = first_free()
local row = shard and load_row(shards, shard)
while row and (row.state ~= 'leased' or (row.takeovers or 0) > 0) do
  local place = redis.call('HINCRBY', meta, 'order', 1)
  if row.state == 'leased' then
    book_expiry(row)
    row.state, row.owner, row.lease, row.expires_ms = 'pending', nil, nil, nil
    save_row(shards, shard, row)
  end
  redis.call('ZREM', leases, shard)
  redis.call('ZADD', pending, place, shard)
  shard = first_free()
  row = shard and load_row(shards, shard)
end
if row then
  book_expiry(row)
else
  shard = redis.call('ZRANGE', pending, 0, 0)[1]
  if not shard then return false end
  row = load_row(shards, shard)
end
row.token = redis.call('HINCRBY', meta, 'fence', 1)
remember_grant(grants, grant_deadlines, shard, now)
row.state, row.owner, row.lease = 'leased', arguments.owner, arguments.lease
row.expires_ms = now + arguments.ttl_ms
save_row(shards, shard, row)
redis.call('ZREM', pending, shard)
redis.call('ZADD', leases, integer(row.expires_ms), shard)
return cmsgpack.pack(row)
