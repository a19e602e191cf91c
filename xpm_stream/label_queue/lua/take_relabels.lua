-- Leases samples that must be labelled again. Returns [[sample, message, relabels, reason, row of the shard, attempts,
-- tried]]. A sample whose leases keep running out may kill its labelers: it is leased alone, which is booked here.
-- KEYS: relabels, relabel_queue, relabel_leases, shards, relabel_troubles
-- arguments: owner, lease, ttl_ms, count, suspect_after
local relabels, queue, leases, shards, troubles = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now = now_ms()
local rows = {}
for _, sample in ipairs(redis.call('ZRANGEBYSCORE', queue, '-inf', integer(now), 'LIMIT', 0, arguments.count)) do
  local packed = redis.call('HGET', troubles, sample)
  local trouble = packed and cmsgpack.unpack(packed) or {}
  local expired = redis.call('HEXISTS', leases, sample) == 1
  if expired then trouble.expired = (trouble.expired or 0) + 1 end
  local suspect = (trouble.expired or 0) >= arguments.suspect_after
  -- A suspect behind others waits for the next call, with its old lease as it was.
  if not suspect or #rows == 0 then
    if suspect then trouble.tried = (trouble.tried or 0) + 1 end
    if expired or suspect then redis.call('HSET', troubles, sample, cmsgpack.pack(trouble)) end
    local record = cmsgpack.unpack(redis.call('HGET', relabels, sample))
    redis.call('HSET', leases, sample, arguments.lease)
    redis.call('ZADD', queue, integer(now + arguments.ttl_ms), sample)
    local row = redis.call('HGET', shards, string.match(sample, '^(.*):%d+$'))
    rows[#rows + 1] =
      {sample, record.data or '', record.relabels, record.reason, row, trouble.attempts or 0, trouble.tried or 0}
    if suspect then break end
  end
end
return rows
