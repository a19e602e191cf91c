-- Moves the deadline of leased relabel work. Returns how many of its samples the lease still holds.
-- KEYS: relabel_queue, relabel_leases
-- arguments: lease, samples = [sample], ttl_ms
local queue, leases = KEYS[1], KEYS[2]
allow_growth(leases)  -- or each labeler that waits until the trainer has made room would lose its work
local now, held = now_ms(), 0
for _, sample in ipairs(arguments.samples) do
  local expires_ms = tonumber(redis.call('ZSCORE', queue, sample) or 0)
  if redis.call('HGET', leases, sample) == arguments.lease and expires_ms > now then
    redis.call('ZADD', queue, integer(now + arguments.ttl_ms), sample)
    held = held + 1
  end
end
return held
