-- Leases samples that must be labelled again. Returns [[sample, message, relabels, reason, row of the shard]].
-- KEYS: relabels, relabel_queue, relabel_leases, shards
-- arguments: owner, lease, ttl_ms, count
local relabels, queue, leases, shards = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now = now_ms()
local rows = {}
for _, sample in ipairs(redis.call('ZRANGEBYSCORE', queue, '-inf', integer(now), 'LIMIT', 0, arguments.count)) do
  local record = cmsgpack.unpack(redis.call('HGET', relabels, sample))
  redis.call('HSET', leases, sample, arguments.lease)
  redis.call('ZADD', queue, integer(now + arguments.ttl_ms), sample)
  local row = redis.call('HGET', shards, string.match(sample, '^(.*):%d+$'))
  rows[#rows + 1] = {sample, record.data or '', record.relabels, record.reason, row}
end
return rows
