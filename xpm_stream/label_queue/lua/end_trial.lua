-- Ends the trial of a suspect whose trainer survived it. Returns 0 when that has been done.
-- KEYS: labels, meta, failures
-- arguments: group, epoch, name, consumer, id, passed (the delivery at which it was trained; 0: it was not trained)
local labels, meta, failures = KEYS[1], KEYS[2], KEYS[3]
local fenced = epoch_error(meta)
if fenced then return fenced end
local id = arguments.id
if redis.call('HGET', meta, 'trial') ~= consumer_name() .. '|' .. id then return 0 end
allow_growth(meta)
if not entry_at(labels, id) then
  forget_failures(failures, {id})  -- acknowledged, given back or dead by now
elseif arguments.passed > 0 then
  redis.call('HDEL', failures, 'tried:' .. id)
  redis.call('HSET', failures, 'passed:' .. id, arguments.passed)
else
  redis.call('HINCRBY', failures, 'tried:' .. id, -1)
end
redis.call('HDEL', meta, 'trial')
return 1
