-- Hands out labels: what older epochs left pending, then new ones. Never waits.
-- Returns [entries pending with this consumer, last id handed out (when nothing was found), facts, messages]: facts is
-- msgpack, for each label [id, sample ('' when it names none), deliveries, failures, relabels, bytes of the message, how
-- often tried alone, delivery at which it passed alone]; messages is all messages, one behind the other.
-- KEYS: labels, meta, failures
-- arguments: group, epoch, name, consumer, count, older_only, after? (then only what is pending with this consumer
--   behind this id)
local labels, meta, failures = KEYS[1], KEYS[2], KEYS[3]
local fenced = epoch_error(meta)
if fenced then return fenced end

local group = arguments.group
local ours = integer(arguments.epoch) .. '.' .. arguments.name .. '.'
local consumer = consumer_name()
local facts, messages, found = {}, {}, 0

local function add(entry, deliveries)
  if not entry or not entry[2] then return end
  local flat, sample, message, relabels = entry[2], '', '', 0
  for i = 1, #flat, 2 do
    local name = flat[i]
    if name == 'm' then message = flat[i + 1]
    elseif name == 's' then sample = flat[i + 1]
    elseif name == 'r' then relabels = tonumber(flat[i + 1]) or 0 end
  end
  if not string.find(sample, '^%d+:[%w_.-]+:%d+$') then sample = '' end
  found = found + 1
  facts[found] = {entry[1], sample, deliveries, 0, relabels, #message, 0, 0}
  messages[found] = message
end

local function read_from(id, count)
  local reply = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', count, 'STREAMS', labels, id)
  return reply and reply[1][2] or {}
end

local pending = 0
if arguments.after then
  for _, entry in ipairs(read_from(arguments.after, arguments.count)) do
    if entry[2] then
      add(entry, redis.call('XPENDING', labels, group, entry[1], entry[1], 1)[1][4])
    else
      redis.call('XACK', labels, group, entry[1])  -- its entry was deleted behind our back
    end
  end
else
  local left = arguments.count
  for _, holder in ipairs(redis.call('XPENDING', labels, group)[4] or {}) do
    if holder[1] == consumer then
      pending = tonumber(holder[2])
    elseif left > 0 and string.sub(holder[1], 1, #ours) ~= ours then
      local ids, deliveries = {}, {}
      for _, one in ipairs(redis.call('XPENDING', labels, group, '-', '+', math.min(left, 1000), holder[1])) do
        ids[#ids + 1] = one[1]
        deliveries[one[1]] = one[4] + 1
      end
      for _, entry in ipairs(redis.call('XCLAIM', labels, group, consumer, 0, unpack(ids))) do
        if entry then add(entry, deliveries[entry[1]]) end
      end
      left = left - #ids
    end
  end
  if left > 0 and not arguments.older_only then
    for _, entry in ipairs(read_from('>', left)) do add(entry, 1) end
  end
end

if found > 0 and redis.call('HLEN', failures) > 0 then
  for _, fact in ipairs(facts) do
    local counts = redis.call('HMGET', failures, fact[1], 'tried:' .. fact[1], 'passed:' .. fact[1])
    fact[4], fact[7], fact[8] = tonumber(counts[1] or 0), tonumber(counts[2] or 0), tonumber(counts[3] or 0)
  end
end
local last = ''
if found == 0 then
  for _, one in ipairs(redis.call('XINFO', 'GROUPS', labels)) do
    local about = {}
    for i = 1, #one, 2 do about[one[i]] = one[i + 1] end
    if about.name == group then last = about['last-delivered-id'] end
  end
end
return {pending + found, last, cmsgpack.pack(facts), table.concat(messages)}
