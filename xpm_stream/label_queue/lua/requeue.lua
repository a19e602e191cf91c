-- Makes relabel work of samples that neither Redis nor the checkpoint holds. Returns how many were new; -1 and
-- nothing done when samples moved (a dead letter was replayed) since the caller looked where they are.
-- KEYS: meta, counters, relabels, relabel_queue
-- arguments: group, epoch, name, samples, reason, moves
local meta, counters, relabels, queue = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local fenced = epoch_error(meta)
if fenced then return fenced end
if (redis.call('HGET', meta, 'moves') or '') ~= arguments.moves then return -1 end
allow_growth(meta)
local now, added = now_ms(), 0
for _, sample in ipairs(arguments.samples) do
  if add_relabel(relabels, queue, counters, sample, {relabels = 0, reason = arguments.reason}, now) then
    added = added + 1
  end
end
return added
