-- Acknowledges and deletes labels that a durable checkpoint holds. Returns how many were still there.
-- KEYS: labels, meta, counters, failures
-- arguments: group, epoch, name, ids, sizes
local labels, meta, counters, failures = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local fenced = epoch_error(meta)
if fenced then return fenced end
local ids, sizes = arguments.ids, arguments.sizes
if #ids == 0 then return 0 end

local deleted, bytes = 0, 0
local function gone(size)
  deleted = deleted + 1
  bytes = bytes + size
end

-- One group reads the stream, so no other can hold a reference. Redis has XACKDEL from 8.2 on; before, this is an error.
local answers = redis.pcall('XACKDEL', labels, arguments.group, 'DELREF', 'IDS', #ids, unpack(ids))
if not answers.err then
  for i, id in ipairs(ids) do
    -- It passes over entries that were never delivered.
    if answers[i] == 1 or redis.call('XDEL', labels, id) == 1 then gone(sizes[i]) end
  end
elseif redis.call('XACK', labels, arguments.group, unpack(ids)) == #ids then
  redis.call('XDEL', labels, unpack(ids))
  for _, size in ipairs(sizes) do gone(size) end
else
  -- Some were acknowledged before, or never delivered: one by one, to know whose bytes leave the budget.
  for i, id in ipairs(ids) do
    if redis.call('XDEL', labels, id) == 1 then gone(sizes[i]) end
  end
end
if deleted > 0 then
  add_count(counters, 'bytes', -bytes)
  add_count(counters, 'acknowledged', deleted)
  forget_failures(failures, ids)
end
return deleted
