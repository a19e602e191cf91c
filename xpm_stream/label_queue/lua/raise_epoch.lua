-- Starts a trainer's epoch, above Redis' and the checkpoint's; the run is not finished any more. Returns it.
-- KEYS: labels, meta
-- arguments: group, at_least, name
local labels, meta = KEYS[1], KEYS[2]
-- A late copy of the request must not fence the very trainer that sent it, nor take its mark away.
if redis.call('HGET', meta, 'trainer') == arguments.name then return tonumber(redis.call('HGET', meta, 'epoch')) end
allow_growth(meta)
redis.call('HDEL', meta, 'finished')
local created = redis.pcall('XGROUP', 'CREATE', labels, arguments.group, '0', 'MKSTREAM')
if type(created) == 'table' and created.err and not string.find(created.err, 'BUSYGROUP', 1, true) then
  return created
end
local epoch = math.max(tonumber(redis.call('HGET', meta, 'epoch') or 0), arguments.at_least) + 1
redis.call('HSET', meta, 'epoch', integer(epoch), 'trainer', arguments.name)
-- Only consumers with nothing pending are forgotten: deleting one deletes its pending entries' bookkeeping with it.
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', labels, arguments.group)) do
  local facts = {}
  for i = 1, #consumer, 2 do facts[consumer[i]] = consumer[i + 1] end
  if facts.pending == 0 then redis.call('XGROUP', 'DELCONSUMER', labels, arguments.group, facts.name) end
end
return epoch
