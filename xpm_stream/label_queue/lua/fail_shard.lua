-- Books that a leased shard cannot be read now, with the reason. It is put off for the next of the waits; when none is
-- left it has failed, and is out of the order until somebody has it tried again. Returns 1 when it has failed, else 0.
-- KEYS: shards, leases, pending, failed
-- arguments: shard, lease, token, ttl_ms, reason, waits_ms = [how long it is put off the first time, the second, ...]
local shards, leases, failed = KEYS[1], KEYS[2], KEYS[4]
local now = now_ms()
local row = load_row(shards, arguments.shard)
if row and row.token == arguments.token then
  if row.state == 'failed' then return 1 end
  if row.state == 'pending' and row.put_off then return 0 end
end
local lost = lease_error(row, now)
if lost then return lost end

local times = (row.put_off or 0) + 1
local wait_ms = arguments.waits_ms[times]
row.owner, row.lease, row.expires_ms = nil, nil, nil
row.note = arguments.reason
row.takeovers, row.tried = nil, nil  -- its labeler is alive
if wait_ms then
  row.state, row.put_off = 'pending', times
else
  row.state, row.put_off = 'failed', nil  -- a retry begins anew
end
save_row(shards, arguments.shard, row)
if wait_ms then
  redis.call('ZADD', leases, integer(now + wait_ms), arguments.shard)
  return 0
end
redis.call('ZREM', leases, arguments.shard)
redis.call('ZADD', failed, row.order, arguments.shard)
return 1
