-- Moves leased relabel work to the stream, the skipped or the dead; an item of kind `later` stays, free again when due.
-- Work whose lease is over is left alone. Returns how many were moved.
-- KEYS: labels, relabels, relabel_queue, relabel_leases, relabel_troubles, counters, dead, shards, then the bitmaps that
--   `bits` points to
-- ARGV[2]: the messages of the items of kind label, which come first
-- arguments: lease, items = [{kind = label | skip | dead | later, sample, shard, ordinal, size?, reason?, detail?, place?,
--   attempts?, bits?, after_ms?}]
local labels, relabels, queue, leases, troubles = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local counters, dead, shards = KEYS[6], KEYS[7], KEYS[8]
local now, moved, rows = now_ms(), 0, {}

local function book(item, field)
  if redis.call('SETBIT', KEYS[item.bits], integer(item.ordinal), 1) == 0 then
    rows[item.shard] = rows[item.shard] or load_row(shards, item.shard)
    count_reason(rows[item.shard], field, item.reason, 1)
  end
  add_count(counters, field .. '.' .. item.reason, 1)
end

local function try_later(item)
  local packed = redis.call('HGET', troubles, item.sample)
  local attempts = packed and cmsgpack.unpack(packed).attempts or 0
  redis.call('HSET', troubles, item.sample, cmsgpack.pack({attempts = attempts + 1}))
  redis.call('ZADD', queue, integer(now + item.after_ms), item.sample)
  redis.call('HDEL', leases, item.sample)
end

local next_message = message_reader()
for _, item in ipairs(arguments.items) do
  local message = item.kind == 'label' and next_message(item.size)
  local expires_ms = tonumber(redis.call('ZSCORE', queue, item.sample) or 0)
  local leased = redis.call('HGET', leases, item.sample) == arguments.lease and expires_ms > now
  if leased and item.kind == 'later' then
    try_later(item)
  elseif leased then
    local record = cmsgpack.unpack(redis.call('HGET', relabels, item.sample))
    if item.kind == 'label' then
      redis.call('XADD', labels, '*', 's', item.sample, 'm', message, 'r', record.relabels)
      add_count(counters, 'bytes', item.size)
      add_count(counters, 'labels', 1)
    elseif item.kind == 'skip' then
      book(item, 'skipped')
    else
      redis.call('XADD', dead, '*', 's', item.sample, 'r', record.relabels, 'reason', item.reason,
        'detail', item.detail, 'place', item.place, 'side', 'labeler', 'attempts', item.attempts)
      book(item, 'dead')
    end
    redis.call('HDEL', relabels, item.sample)
    redis.call('ZREM', queue, item.sample)
    redis.call('HDEL', leases, item.sample)
    redis.call('HDEL', troubles, item.sample)
    add_count(counters, 'relabel_bytes', -#(record.data or ''))
    moved = moved + 1
  end
end
for shard, row in pairs(rows) do save_row(shards, shard, row) end
return moved
