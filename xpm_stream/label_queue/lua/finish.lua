-- Marks the run as finished under the trainer's epoch; raise_epoch takes the mark away. Returns 1; 0 and nothing done if
-- `drained` is asked for and anything is left that could come.
-- KEYS: meta, labels, relabels, pending, leases, watched
-- arguments: epoch, name, mark, drained
local meta = KEYS[1]
local fenced = epoch_error(meta)
if fenced then return fenced end
if arguments.drained then
  local left = redis.call('XLEN', KEYS[2]) + redis.call('HLEN', KEYS[3]) + redis.call('ZCARD', KEYS[4])
    + redis.call('ZCARD', KEYS[5]) + redis.call('HLEN', KEYS[6])
  if left > 0 then return 0 end
end
allow_growth(meta)
redis.call('HSET', meta, 'finished', arguments.mark)
return 1
