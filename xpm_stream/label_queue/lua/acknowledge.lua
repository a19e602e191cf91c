-- Acknowledges and deletes labels that a durable checkpoint holds. Returns how many were still there.
-- KEYS: labels, meta, counters, failures
-- arguments: group, epoch, name, ids, sizes, xackdel
local labels, meta, counters, failures = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local fenced = epoch_error(meta)
if fenced then return fenced end
local ids, sizes = arguments.ids, arguments.sizes
if #ids == 0 then return 0 end

local answers = {}
if arguments.xackdel then
  answers = redis.call('XACKDEL', labels, arguments.group, 'DELREF', 'IDS', #ids, unpack(ids))
else
  redis.call('XACK', labels, arguments.group, unpack(ids))
end
local deleted, bytes = 0, 0
for i, id in ipairs(ids) do
  -- One by one, to know whose bytes leave the budget. XACKDEL passes over entries that were never delivered.
  if answers[i] == 1 or redis.call('XDEL', labels, id) == 1 then
    deleted = deleted + 1
    bytes = bytes + sizes[i]
  end
end
if deleted > 0 then
  add_count(counters, 'bytes', -bytes)
  add_count(counters, 'acknowledged', deleted)
  if redis.call('HLEN', failures) > 0 then redis.call('HDEL', failures, unpack(ids)) end
end
return deleted
