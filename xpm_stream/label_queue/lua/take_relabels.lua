-- Leases samples that must be labelled again. Returns [[sample, message, relabels, reason, row of the shard, attempts,
-- tried]]. A sample whose leases keep running out may kill its labelers: it is leased alone, which is booked here.
-- KEYS: relabels, relabel_queue, relabel_leases, shards, relabel_troubles, grants, grant_deadlines
-- arguments: owner, lease, ttl_ms, count, suspect_after
local relabels, queue, leases, shards, troubles = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local grants, grant_deadlines = KEYS[6], KEYS[7]
local now = now_ms()
local samples, rows = {}, {}

local function trouble_of(sample)
  local packed = redis.call('HGET', troubles, sample)
  return packed and cmsgpack.unpack(packed) or {}
end

local function add_row(sample, trouble)
  local record = cmsgpack.unpack(redis.call('HGET', relabels, sample))
  local row = redis.call('HGET', shards, string.match(sample, '^(.*):%d+$'))
  samples[#samples + 1] = sample
  rows[#rows + 1] =
    {sample, record.data or '', record.relabels, record.reason, row, trouble.attempts or 0, trouble.tried or 0}
end

-- A repeat gets of what the first request got what its lease still holds.
local given = redis.call('HGET', grants, arguments.lease)
if given then
  for _, sample in ipairs(cmsgpack.unpack(given)) do
    local expires_ms = tonumber(redis.call('ZSCORE', queue, sample) or 0)
    if redis.call('HGET', leases, sample) == arguments.lease and expires_ms > now then
      add_row(sample, trouble_of(sample))
    end
  end
  return rows
end

for _, sample in ipairs(redis.call('ZRANGEBYSCORE', queue, '-inf', integer(now), 'LIMIT', 0, arguments.count)) do
  local trouble = trouble_of(sample)
  local expired = redis.call('HEXISTS', leases, sample) == 1
  if expired then trouble.expired = (trouble.expired or 0) + 1 end
  local suspect = (trouble.expired or 0) >= arguments.suspect_after
  -- A suspect behind others waits for the next call, with its old lease as it was.
  if not suspect or #rows == 0 then
    if suspect then trouble.tried = (trouble.tried or 0) + 1 end
    if expired or suspect then redis.call('HSET', troubles, sample, cmsgpack.pack(trouble)) end
    redis.call('HSET', leases, sample, arguments.lease)
    redis.call('ZADD', queue, integer(now + arguments.ttl_ms), sample)
    add_row(sample, trouble)
    if suspect then break end
  end
end
if #samples > 0 then remember_grant(grants, grant_deadlines, cmsgpack.pack(samples), now) end
return rows
