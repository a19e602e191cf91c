-- Loaded in front of every script. Each script takes one msgpack map of named fields, here `arguments`. Encoded labels
-- travel beside it, one behind the other in ARGV[2], with their sizes in the map: cmsgpack knows no binary type, and
-- every further argument or element of an answer costs a client in Python more than the label's bytes do.
-- A script may run twice (a cut connection hides whether it ran): each one finds out and then changes nothing more.
-- A script's first write is one that Redis refuses when it is out of memory, so it happens whole or not at all.
local arguments = cmsgpack.unpack(ARGV[1])

local function integer(number)
  return string.format('%.0f', number)
end

-- Changes a count. Zero is left alone: Lua writes a negated zero as -0, which Redis takes for no integer.
local function add_count(counters, name, change)
  if change ~= 0 then redis.call('HINCRBY', counters, name, integer(change)) end
end

-- Returns a function that cuts the next message of so many bytes off ARGV[2].
local function message_reader()
  local at = 1
  return function(size)
    at = at + size
    return string.sub(ARGV[2], at - size, at - 1)
  end
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function load_row(shards, shard)
  local packed = redis.call('HGET', shards, shard)
  return packed and cmsgpack.unpack(packed) or nil
end

local function save_row(shards, shard, row)
  redis.call('HSET', shards, shard, cmsgpack.pack(row))
end

-- Adds to a count by reason in a row. An empty Lua table would be packed as a list, so the map appears with its first key.
local function count_reason(row, field, reason, change)
  if not row then return end
  row[field] = row[field] or {}
  row[field][reason] = (row[field][reason] or 0) + change
  if row[field][reason] <= 0 then row[field][reason] = nil end
  if next(row[field]) == nil then row[field] = nil end
end

-- Why the caller's lease on this shard does not hold, as an error answer; nil when it holds.
local function lease_error(row, now)
  local problem
  if not row then
    problem = 'the queue does not know the shard; Redis was emptied or restored from an older copy'
  elseif row.lease ~= arguments.lease or row.token ~= arguments.token then
    problem = row.owner and ('it is leased to ' .. row.owner .. ' now') or ('the lease has ended; it is ' .. row.state)
  elseif row.expires_ms <= now then
    problem = 'the lease expired ' .. integer(now - row.expires_ms) .. ' ms ago'
  end
  if problem then
    return redis.error_reply('LEASELOST shard ' .. arguments.shard .. ': ' .. problem .. '; drop the batch and lease again')
  end
end

-- Why the caller is not the trainer, as an error answer; nil when it is.
local function epoch_error(meta)
  local held = redis.call('HMGET', meta, 'epoch', 'trainer')
  if held[1] == integer(arguments.epoch) and held[2] == arguments.name then return nil end
  local ours = 'epoch ' .. integer(arguments.epoch)
  if not held[1] or tonumber(held[1]) < arguments.epoch then
    return redis.error_reply('EPOCHFENCED Redis has epoch ' .. (held[1] or 'none') .. ' and this trainer ' .. ours
      .. ': Redis was emptied or restored from an older copy; start the trainer again from its checkpoint')
  end
  return redis.error_reply('EPOCHFENCED a newer trainer (epoch ' .. held[1] .. ') has started; this one, ' .. ours
    .. ', must stop')
end

-- Out of memory, only the trainer can free some, and needs a few bytes for it. Redis refuses a script's growth until the
-- script has written, so this writes nothing.
local function allow_growth(hash)
  redis.call('HDEL', hash, 'nothing')
end

local function fields_of(entry)
  local fields = {}
  local flat = entry[2]
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

local function entry_at(stream, id)
  local found = redis.call('XRANGE', stream, id, id)
  if found[1] then return fields_of(found[1]) end
end

-- What a request for work was given, by the id that its sender chose for the lease, until that lease should end: so a
-- repeat is known without a look through all leases. What is remembered too long goes with the next grant.
local function remember_grant(grants, deadlines, what, now)
  redis.call('HSET', grants, arguments.lease, what)
  redis.call('ZADD', deadlines, integer(now + arguments.ttl_ms), arguments.lease)
  for _, over in ipairs(redis.call('ZRANGEBYSCORE', deadlines, '-inf', integer(now), 'LIMIT', 0, 100)) do
    redis.call('HDEL', grants, over)
    redis.call('ZREM', deadlines, over)
  end
end

-- Puts a sample on the relabel work unless it is there; returns whether it was new.
local function add_relabel(relabels, queue, counters, sample, record, now)
  if redis.call('HSETNX', relabels, sample, cmsgpack.pack(record)) == 0 then return false end
  redis.call('ZADD', queue, integer(now), sample)
  add_count(counters, 'relabel_bytes', #(record.data or ''))
  return true
end

-- What the hash `failures` holds of a label: its reported failures under its id, how often it was tried alone without
-- surviving under `tried:ID`, and at which delivery it was trained alone and survived under `passed:ID`.
local function forget_failures(failures, ids)
  if redis.call('HLEN', failures) == 0 then return end
  for _, id in ipairs(ids) do redis.call('HDEL', failures, id, 'tried:' .. id, 'passed:' .. id) end
end

-- The trial of a suspect that is under way: `CONSUMER|ID` in the field `trial` of meta.
local function consumer_name()
  return integer(arguments.epoch) .. '.' .. arguments.name .. '.' .. arguments.consumer
end
