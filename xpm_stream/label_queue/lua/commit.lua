-- What became of the samples [start, ordinal) of a leased shard: one atomic step. Returns 1, or 0 for a repeat.
-- ARGV[2]: the messages of the labels
-- KEYS: shards, leases, labels, counters, dead, skipped_bits of the shard, dead_bits of the shard
-- arguments: shard, lease, token, sequence, start, ordinal, byte_offset, finished, note?, ttl_ms,
--   labels = [sample], sizes = [bytes], skips = [[reason, [ordinal]]], rejects = [{ordinal, sample, reason, detail, place, attempts}]
local shards, leases, labels, counters, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local skipped_bits, dead_bits = KEYS[6], KEYS[7]
local now = now_ms()
local row = load_row(shards, arguments.shard)

if row and row.committed_lease == arguments.lease and row.sequence == arguments.sequence + 1
    and (row.ordinal or 0) == arguments.ordinal then
  return 0
end
local lost = lease_error(row, now)
if lost then return lost end
if (row.sequence or 0) ~= arguments.sequence or (row.ordinal or 0) ~= arguments.start then
  return redis.error_reply('LEASELOST shard ' .. arguments.shard .. ': its cursor is at sample '
    .. integer(row.ordinal or 0) .. ', not ' .. integer(arguments.start) .. '; drop the batch and lease again')
end

local bytes = 0
local next_message = message_reader()
for i, sample in ipairs(arguments.labels) do
  redis.call('XADD', labels, '*', 's', sample, 'm', next_message(arguments.sizes[i]))
  bytes = bytes + arguments.sizes[i]
end
for _, skip in ipairs(arguments.skips) do
  local reason, ordinals = skip[1], skip[2]
  for _, ordinal in ipairs(ordinals) do redis.call('SETBIT', skipped_bits, integer(ordinal), 1) end
  if #ordinals > 0 then
    count_reason(row, 'skipped', reason, #ordinals)
    add_count(counters, 'skipped.' .. reason, #ordinals)
  end
end
for _, reject in ipairs(arguments.rejects) do
  redis.call('XADD', dead, '*', 's', reject.sample, 'reason', reject.reason, 'detail', reject.detail,
    'place', reject.place, 'side', 'labeler', 'attempts', reject.attempts)
  redis.call('SETBIT', dead_bits, integer(reject.ordinal), 1)
  count_reason(row, 'dead', reject.reason, 1)
  add_count(counters, 'dead.' .. reject.reason, 1)
end

row.ordinal, row.byte_offset = arguments.ordinal, arguments.byte_offset
row.sequence, row.committed_lease = arguments.sequence + 1, arguments.lease
row.labels = (row.labels or 0) + #arguments.labels
row.takeovers, row.tried = nil, nil
if row.put_off then row.put_off, row.note = nil, nil end
if arguments.note then row.note = arguments.note end
if arguments.finished then
  row.state, row.owner, row.lease, row.expires_ms, row.finished_ms = 'finished', nil, nil, nil, now
else
  row.expires_ms = now + arguments.ttl_ms
end
save_row(shards, arguments.shard, row)
if arguments.finished then
  redis.call('ZREM', leases, arguments.shard)
else
  redis.call('ZADD', leases, integer(row.expires_ms), arguments.shard)
end
if #arguments.labels > 0 then
  add_count(counters, 'bytes', bytes)
  add_count(counters, 'labels', #arguments.labels)
end
return 1
