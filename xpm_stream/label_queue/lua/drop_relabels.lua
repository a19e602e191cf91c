-- Drops relabel work whose samples the checkpoint has trained. Returns how many.
-- KEYS: meta, counters, relabels, relabel_queue, relabel_leases, relabel_troubles
-- arguments: group, epoch, name, samples
local meta, counters, relabels, queue, leases, troubles = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local fenced = epoch_error(meta)
if fenced then return fenced end
allow_growth(meta)
local dropped = 0
for _, sample in ipairs(arguments.samples) do
  local packed = redis.call('HGET', relabels, sample)
  if packed then
    redis.call('HDEL', relabels, sample)
    redis.call('ZREM', queue, sample)
    redis.call('HDEL', leases, sample)
    redis.call('HDEL', troubles, sample)
    add_count(counters, 'relabel_bytes', -#(cmsgpack.unpack(packed).data or ''))
    dropped = dropped + 1
  end
end
return dropped
