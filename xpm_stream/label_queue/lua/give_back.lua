-- Moves labels from the stream to the relabel work. Returns [how many, [ids of those relabelled too often already]].
-- KEYS: labels, meta, counters, failures, relabels, relabel_queue
-- arguments: group, epoch, name, ids, reason, max_relabels
local labels, meta, counters, failures, relabels, queue = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local fenced = epoch_error(meta)
if fenced then return fenced end
allow_growth(meta)
local now, moved, exhausted = now_ms(), 0, {}
for _, id in ipairs(arguments.ids) do
  local fields = entry_at(labels, id)
  if fields then
    local relabelled = tonumber(fields.r or 0)
    if relabelled >= arguments.max_relabels then
      exhausted[#exhausted + 1] = id
    else
      local record = {data = fields.m, relabels = relabelled + 1, reason = arguments.reason}
      add_relabel(relabels, queue, counters, fields.s, record, now)
      redis.call('XACK', labels, arguments.group, id)
      redis.call('XDEL', labels, id)
      forget_failures(failures, {id})
      add_count(counters, 'bytes', -#fields.m)
      add_count(counters, 'given_back', 1)
      moved = moved + 1
    end
  end
end
if moved > 0 then redis.call('HINCRBY', meta, 'moves', 1) end
return {moved, exhausted}
